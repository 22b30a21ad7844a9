"""All ways to compute a batch of pairs: by parts, in one row with a mask, and in two rows."""

import copy
import types

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from ft_plugin_preference.pairs import PairCollator
from ft_plugin_preference.scoring import PairScorer
from ft_plugin_trainer.targets import next_tokens
from ftk.problems import RunError
from ftk_sdk.evidence import checked
from ftk_sdk.tiny import tiny_llama

SMALL = {"vocab_size": 128, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}


def batch_of(*lengths, vocabulary: int = 120, seed: int = 0):
    """Pairs with these numbers of tokens in prompt, chosen and rejected; some tokens of answers are no targets."""
    g = torch.Generator().manual_seed(seed)
    rows = []
    for sizes in lengths:
        prompt, *answers = (torch.randint(3, vocabulary, (n,), generator=g).tolist() for n in sizes)
        row = {"prompt_input_ids": prompt}
        for name, ids in zip(("chosen", "rejected"), answers, strict=True):
            row |= {f"{name}_input_ids": ids, f"{name}_labels": [-100 if i % 5 == 3 else t for i, t in enumerate(ids)]}
        rows.append(row)
    return PairCollator(0)(rows)


BATCH = batch_of((20, 4, 7), (1, 6, 2), (9, 1, 1), (3, 8, 8))


def in_float64(model: nn.Module) -> nn.Module:
    """The model with norms that do not compute in float32 in between."""

    def forward(self, x):
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)

    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = types.MethodType(forward, module)
    return model.double()


def plainly(model: nn.Module, batch) -> torch.Tensor:
    """Log-probabilities of targets, one conversation at a time from whole logits, cut out of the batch by hand."""
    out = []
    for ids_T, labels_T, segments_T in zip(batch["input_ids"], batch["labels"], batch["segments"], strict=True):
        for side in (1, 2):
            prompt = ids_T[segments_T == 0]
            ids = torch.cat([prompt, ids_T[segments_T == side]])
            labels = torch.cat([torch.full_like(prompt, -100), labels_T[segments_T == side]])
            logprobs = model(ids[None]).logits[0].log_softmax(-1)
            out += [logprobs[t - 1, labels[t]] for t in range(1, len(ids)) if labels[t] != -100]
    return torch.stack(out)


def token_logprobs(scorer, model, batch=BATCH):
    """Of every target of chosen and rejected of the first pair, the second, ..."""
    inputs = scorer.inputs(model, batch, {name: batch[name] for name in ("input_ids", "labels")})
    return scorer.logprobs(model, inputs, next_tokens(inputs.pop("labels"))).logprobs_N


def adapted(model):
    torch.manual_seed(0)
    made = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    return made.double()


@checked(
    stage="dpo",
    loss="prompt shared by both answers",
    against="one conversation at a time from whole logits in float64: values and gradients to 1e-9",
)
@pytest.mark.parametrize(
    ("attention", "share"), [("sdpa", True), ("mask", True), ("eager", True), ("sdpa", False), ("eager", False)]
)
def test_all_ways_give_the_log_probabilities_that_answers_have_alone(attention, share):
    model = in_float64(tiny_llama(vocab_size=128))
    plain = copy.deepcopy(model)
    model.config._attn_implementation = "eager" if attention == "eager" else "sdpa"
    scorer = PairScorer(share=share)
    if attention == "mask":
        scorer.shares(model, BATCH)
        model.config._attn_implementation = "sdpa"
    logprobs_N = token_logprobs(scorer, model)
    expected_N = plainly(plain, BATCH)
    # Eager attention has its softmax in float32.
    tolerance = 1e-6 if attention == "eager" else 1e-9
    torch.testing.assert_close(logprobs_N, expected_N, rtol=0, atol=tolerance)
    weight_N = torch.linspace(-1, 1, len(expected_N), dtype=torch.float64)
    (logprobs_N * weight_N).sum().backward()
    (expected_N * weight_N).sum().backward()
    for made, wanted in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(made.grad, wanted.grad, rtol=0, atol=tolerance)


MODELS = {
    "llama": lambda: tiny_llama(vocab_size=128),
    "with an adapter": lambda: adapted(tiny_llama(vocab_size=128)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=128, n_embd=32, n_layer=2, n_head=4)),
    "opt": lambda: OPTForCausalLM(OPTConfig(**SMALL, ffn_dim=64, word_embed_proj_dim=32)),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_with_attention_to_all_before_share_prompts(name):
    model = MODELS[name]().double().eval()
    scorer = PairScorer(share=True)
    assert scorer.shares(model, BATCH)
    shared, _ = scorer(model, BATCH)
    apart, _ = PairScorer(share=False)(model, BATCH)
    torch.testing.assert_close(shared.chosen_B, apart.chosen_B, rtol=0, atol=1e-5)
    torch.testing.assert_close(shared.rejected_B, apart.rejected_B, rtol=0, atol=1e-5)


OTHERS = {
    "mamba": (lambda: MambaForCausalLM(MambaConfig(**SMALL, state_size=4)), "not all of its layers are attention"),
    "a short window": (
        lambda: MistralForCausalLM(MistralConfig(**SMALL, num_key_value_heads=2, sliding_window=4)),
        "its window of 4 positions is too short",
    ),
}
WINDOWED = {
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SMALL, num_key_value_heads=2, sliding_window=27)),
    "gemma3": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**SMALL, num_key_value_heads=2, head_dim=8, sliding_window=27, query_pre_attn_scalar=8)
    ),
}


@pytest.mark.parametrize("name", WINDOWED)
def test_a_window_matters_only_to_conversations_that_are_longer(name):
    torch.manual_seed(0)
    model = WINDOWED[name]().double().eval()
    scorer = PairScorer(share=True)
    assert scorer.shares(model, BATCH)  # its longest conversation has just 27 positions
    assert not scorer.shares(model, batch_of((20, 4, 8)))
    for batch in (BATCH, batch_of((40, 9, 12))):
        with torch.no_grad():
            made, _ = scorer(model, batch)
            apart, _ = PairScorer(share=False)(model, batch)
        torch.testing.assert_close(made.chosen_B, apart.chosen_B, rtol=0, atol=1e-5)
        torch.testing.assert_close(made.rejected_B, apart.rejected_B, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_compute_the_answers_apart(name):
    make, why = OTHERS[name]
    model = make().eval()
    with torch.no_grad():
        made, _ = PairScorer()(model, BATCH)
        apart, _ = PairScorer(share=False)(model, BATCH)
        assert torch.equal(made.chosen_B, apart.chosen_B)
    with pytest.raises(RunError, match=why):
        PairScorer(share=True)(model, BATCH)


class Leaks(nn.Module):
    """Adds to each position the one before it: a state that passes from one answer to the other."""

    def forward(self, x):
        return x + x.roll(1, dims=1)


def test_a_model_that_lets_answers_see_each_other_is_found_out():
    model = tiny_llama(vocab_size=128).eval()
    model.model.embed_tokens = nn.Sequential(model.model.embed_tokens, Leaks())
    model.get_input_embeddings = lambda: model.model.embed_tokens[0]
    with pytest.raises(RunError, match="gives the branches other log-probabilities than alone"):
        PairScorer(share=True)(model, BATCH)


def test_finding_out_leaves_random_numbers_and_modes_alone():
    model = tiny_llama(vocab_size=128).train()
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    PairScorer().shares(model, BATCH)
    assert torch.equal(torch.rand(3), expected) and all(module.training for module in model.modules())


def test_where_pairs_need_a_mask_prompts_are_shared_if_that_is_less_work():
    model = tiny_llama()
    scorer = PairScorer()
    assert scorer.shares(model, batch_of((2, 300, 300)))
    model.config._attn_implementation = "sdpa"
    assert scorer.shares(model, batch_of((200, 10, 10), (150, 20, 5)))
    assert not scorer.shares(model, batch_of((2, 300, 300)))


def test_sums_are_those_of_each_answers_targets():
    model = tiny_llama(vocab_size=128, dtype=torch.float64)
    with torch.no_grad():
        made, _ = PairScorer()(model, BATCH)
        plain_N = plainly(model, BATCH)
    at, sums = 0, []
    tokens = torch.stack([made.chosen_tokens_B, made.rejected_tokens_B], 1)
    for n in tokens.flatten().tolist():
        sums.append(plain_N[at : at + n].sum())
        at += n
    assert at == len(plain_N)
    sums_B2 = torch.stack(sums).view(-1, 2)
    torch.testing.assert_close(torch.stack([made.chosen_B, made.rejected_B], 1), sums_B2, rtol=0, atol=1e-5)
    torch.testing.assert_close(made.chosen_mean_B, sums_B2[:, 0] / tokens[:, 0], rtol=0, atol=1e-5)


@checked(
    stage="dpo",
    loss="ld_alpha",
    against="token by token in float64: those beyond the shorter answer times alpha, to 1e-9",
)
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_tokens_beyond_the_shorter_answer_count_alpha(alpha):
    model = tiny_llama(vocab_size=128, dtype=torch.float64)
    scorer = PairScorer(ld_alpha=alpha)
    with torch.no_grad():
        logprobs_N = token_logprobs(scorer, model)
        made = scorer.pairs(logprobs_N, BATCH)
        mean_B = PairScorer().pairs(logprobs_N, BATCH).chosen_mean_B
    at, values = 0, logprobs_N.tolist()
    for i, (c, r) in enumerate(zip(made.chosen_tokens_B.tolist(), made.rejected_tokens_B.tolist(), strict=True)):
        sides = values[at : at + c], values[at + c : at + c + r]
        at += c + r
        common = min(c, r)
        wanted = [sum(side[:common]) + alpha * sum(side[common:]) for side in sides]
        assert [made.chosen_B[i].item(), made.rejected_B[i].item()] == pytest.approx(wanted, rel=0, abs=1e-9)
    assert torch.equal(made.chosen_mean_B, mean_B)
