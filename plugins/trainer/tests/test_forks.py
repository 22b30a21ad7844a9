"""Rows of a prefix and branches: by parts, with a mask for every two positions, and each branch apart."""

import copy
import types

import pytest
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from ft_plugin_trainer.forks import NAME, Forks, apart, is_less_work, positions, segments, visible
from ft_plugin_trainer.targets import IGNORE, TargetLogprobs, next_tokens
from ftk_sdk.tiny import tiny_llama

SMALL = {"vocab_size": 128, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "attention_dropout": 0.0}
MODELS = {
    "llama": lambda: tiny_llama(vocab_size=128),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SMALL, **HEADS)),
    "gemma3": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**SMALL, **HEADS, query_pre_attn_scalar=20, sliding_window=40)
    ),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=128, n_embd=32, n_layer=2, n_head=4)),
}
LENGTHS = {
    1: [(7, 4), (1, 9), (12, 1)],
    2: [(20, 4, 7), (1, 6, 2), (0, 5, 8), (9, 1, 1)],
    3: [(3, 8, 2, 5), (11, 4, 9, 0), (6, 3, 0, 0)],
    4: [(2, 9, 9, 1, 6), (0, 3, 4, 5, 6)],
}


def in_float64(model):
    """The model in evaluation mode, with norms that do not compute in float32 in between."""

    def forward(self, x):
        eps = self.eps if hasattr(self, "eps") else self.variance_epsilon
        weight = self.weight + 1 if type(self).__name__.startswith("Gemma") else self.weight
        return weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)

    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = types.MethodType(forward, module)
    return model.double().eval()


def model_of(name):
    torch.manual_seed(0)
    return in_float64(MODELS[name]())


def rows_of(lengths, seed=0):
    """Random tokens; all of a branch are targets but its first."""
    lengths_BK = torch.tensor(lengths)
    width = int(lengths_BK.sum(1).max()) + 2
    ids_BT = torch.randint(3, 128, (len(lengths), width), generator=torch.Generator().manual_seed(seed))
    segments_BT = segments(lengths_BK, width)
    begins_BT = segments_BT != torch.nn.functional.pad(segments_BT[:, :-1], (1, 0), value=-1)
    untold_BT = begins_BT | (segments_BT == 0) | (segments_BT == lengths_BK.shape[1])
    return {"input_ids": ids_BT, "labels": ids_BT.masked_fill(untold_BT, IGNORE)}, lengths_BK


def plainly(model, columns, lengths_BK):
    """Log-probabilities of targets, one conversation at a time from whole logits, cut out of the rows by hand."""
    out = []
    for ids_T, labels_T, (prefix, *branches) in zip(
        columns["input_ids"], columns["labels"], lengths_BK.tolist(), strict=True
    ):
        at = prefix
        for n in branches:
            if n:
                ids = torch.cat([ids_T[:prefix], ids_T[at : at + n]])
                labels = torch.cat([labels_T[:prefix], labels_T[at : at + n]])
                logprobs = model(ids[None]).logits[0].log_softmax(-1)
                out += [logprobs[t - 1, labels[t]] for t in range(1, len(ids)) if labels[t] != IGNORE]
            at += n
    return torch.stack(out)


def logprobs_of(model, inputs):
    inputs = dict(inputs)
    return TargetLogprobs()(model, inputs, next_tokens(inputs.pop("labels"))).logprobs_N


def in_way(way, model, columns, lengths_BK):
    forks = Forks()
    if way == "apart":
        return logprobs_of(model, apart(columns, lengths_BK))
    assert not forks.fault(model) and model.config._attn_implementation == NAME
    if way == "mask":
        model.config._attn_implementation = "sdpa"
    return logprobs_of(model, forks.together(model, columns, lengths_BK))


@pytest.mark.parametrize("branches", LENGTHS)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("way", ["parts", "mask", "apart"])
def test_each_way_gives_values_and_gradients_that_conversations_have_alone(way, name, branches):
    plain, model = model_of(name), model_of(name)
    columns, lengths_BK = rows_of(LENGTHS[branches])
    made_N, expected_N = in_way(way, model, columns, lengths_BK), plainly(plain, columns, lengths_BK)
    torch.testing.assert_close(made_N, expected_N, rtol=0, atol=1e-10)
    weight_N = torch.linspace(-1, 1, len(expected_N), dtype=torch.float64)
    (made_N * weight_N).sum().backward()
    (expected_N * weight_N).sum().backward()
    for made, wanted in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(made.grad, wanted.grad, rtol=0, atol=1e-10)


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_backward_pass_that_computes_layers_again_finds_the_same_parts(reentrant):
    plain, model = model_of("llama"), model_of("llama").train()
    model.activation_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    columns, lengths_BK = rows_of(LENGTHS[2])
    in_way("parts", model, columns, lengths_BK).sum().backward()
    plainly(plain, columns, lengths_BK).sum().backward()
    for made, wanted in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(made.grad, wanted.grad, rtol=0, atol=1e-10)


def test_compiled_layers_compute_by_parts_too():
    plain, model = model_of("llama"), model_of("llama")
    for layer in model.model.layers:
        layer.forward = torch.compile(layer.forward, dynamic=True, backend="eager")
    for lengths in LENGTHS[2], LENGTHS[3]:
        columns, lengths_BK = rows_of(lengths)
        expected_N = plainly(plain, columns, lengths_BK)
        torch.testing.assert_close(in_way("parts", model, columns, lengths_BK), expected_N, rtol=0, atol=1e-10)


def test_parts_hold_no_padding_and_no_mask_of_every_two_positions():
    model, (columns, lengths_BK) = model_of("llama"), rows_of(LENGTHS[3])
    inputs = Forks().inputs(model, columns, lengths_BK)
    assert inputs["input_ids"].shape == (1, lengths_BK.sum()) and inputs["attention_mask"].numel() == lengths_BK.numel()


def test_dropout_of_attention_is_that_of_the_model():
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(Qwen3Config(**SMALL, **HEADS | {"attention_dropout": 0.5}))
    columns, lengths_BK = rows_of(LENGTHS[2])
    inputs = Forks().inputs(model.eval(), columns, lengths_BK)
    assert torch.equal(logprobs_of(model, inputs), logprobs_of(model, inputs))
    model.train()
    assert not torch.equal(logprobs_of(model, inputs), logprobs_of(model, inputs))


@torch.no_grad()
def test_everything_else_that_the_model_does_stays_as_it_is(tmp_path):
    plain, model = model_of("gemma3"), model_of("gemma3")
    assert not Forks().fault(model) and model.config._attn_implementation == NAME
    ids = torch.randint(3, 128, (2, 9))
    masks = [None, torch.tensor([[0] * 4 + [1] * 5, [1] * 9])]
    for mask in masks:
        made, wanted = (m(ids, attention_mask=mask).logits[:, 4:] for m in (model, plain))
        assert torch.equal(made, wanted)
    settings = {"attention_mask": masks[1], "max_new_tokens": 4, "do_sample": False}
    assert torch.equal(model.generate(ids, **settings), plain.generate(ids, **settings))
    model.save_pretrained(tmp_path / "made")
    plain.save_pretrained(tmp_path / "plain")
    assert (tmp_path / "made" / "config.json").read_text() == (tmp_path / "plain" / "config.json").read_text()
    assert type(model).from_pretrained(tmp_path / "made").config._attn_implementation == "sdpa"
    assert copy.deepcopy(model)(ids).logits.equal(plain(ids).logits)


class TakesOnlyTrueAndFalse(torch.nn.Module):
    """A layer of a model that makes of a mask what it needs itself."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, attention_mask=None, **kwargs):
        return self.layer(x, attention_mask=None if attention_mask is None else attention_mask.bool(), **kwargs)


def test_a_model_that_takes_only_masks_of_every_two_positions_gets_one():
    plain, model = model_of("llama"), model_of("llama")
    model.model.layers[1] = TakesOnlyTrueAndFalse(model.model.layers[1])
    forks, (columns, lengths_BK) = Forks(), rows_of(LENGTHS[2])
    assert not forks.fault(model) and model.config._attn_implementation == "sdpa"
    inputs = forks.together(model, columns, lengths_BK)
    expected_N = plainly(plain, columns, lengths_BK)
    torch.testing.assert_close(logprobs_of(model, inputs), expected_N, rtol=0, atol=1e-10)


def test_a_model_that_swallows_masks_is_found_out_and_computes_branches_apart():
    plain, model = model_of("llama"), model_of("llama")
    whole = model.model.forward
    model.model.forward = lambda *args, attention_mask=None, **kwargs: whole(*args, **kwargs)
    forks, (columns, lengths_BK) = Forks(), rows_of(LENGTHS[2])
    assert forks.fault(model) == "it gives the branches other log-probabilities than alone"
    assert model.config._attn_implementation == "sdpa"
    expected_N = plainly(plain, columns, lengths_BK)
    made_N = logprobs_of(model, forks.inputs(model, columns, lengths_BK))
    torch.testing.assert_close(made_N, expected_N, rtol=0, atol=1e-10)


def test_eager_attention_gets_a_mask_to_add():
    plain, model = model_of("llama"), model_of("llama")
    model.config._attn_implementation = "eager"
    columns, lengths_BK = rows_of(LENGTHS[2])
    forks = Forks()
    assert not forks.fault(model) and model.config._attn_implementation == "eager"
    made_N = logprobs_of(model, forks.together(model, columns, lengths_BK))
    expected_N = plainly(plain, columns, lengths_BK)
    torch.testing.assert_close(made_N, expected_N, rtol=0, atol=1e-6)  # its softmax is in float32


def test_a_window_matters_only_to_conversations_that_are_longer():
    model, forks = model_of("gemma3"), Forks()
    assert forks.worth(model, torch.tensor([(36, 4, 3)])) and not forks.worth(model, torch.tensor([(36, 5, 3)]))


def test_positions_go_on_from_the_prefix_and_no_branch_sees_another():
    lengths_BK = torch.tensor([(2, 3, 4, 0), (0, 1, 2, 3)])
    segments_BT = segments(lengths_BK, 9)
    assert segments_BT.tolist() == [[0, 0, 1, 1, 1, 2, 2, 2, 2], [1, 2, 2, 3, 3, 3, 4, 4, 4]]
    assert positions(lengths_BK, segments_BT).tolist() == [[0, 1, 2, 3, 4, 2, 3, 4, 5], [0, 0, 1, 0, 1, 2, 0, 0, 0]]
    sees = visible(segments_BT, 4)
    assert sees[0, 0, 4].nonzero().flatten().tolist() == [0, 1, 2, 3, 4]
    assert sees[0, 0, 6].nonzero().flatten().tolist() == [0, 1, 5, 6]
    assert sees[1, 0, 8].nonzero().flatten().tolist() == [8]


def test_apart_conversations_are_whole():
    columns, lengths_BK = rows_of([(2, 3, 4), (1, 2, 0)])
    made = apart(columns, lengths_BK)
    ids = columns["input_ids"].tolist()
    real = [row[mask == 1].tolist() for row, mask in zip(made["input_ids"], made["attention_mask"], strict=True)]
    assert real == [ids[0][:5], ids[0][:2] + ids[0][5:9], ids[1][:3]]
    targets = [row[row != IGNORE].tolist() for row in made["labels"]]
    assert targets == [ids[0][3:5], ids[0][6:9], ids[1][2:3]]


def test_masks_of_every_two_positions_are_for_rows_where_they_are_less_work():
    model = tiny_llama()
    assert is_less_work(model, torch.tensor([(200, 10, 10), (150, 20, 5)]))
    assert not is_less_work(model, torch.tensor([(2, 300, 300)]))
