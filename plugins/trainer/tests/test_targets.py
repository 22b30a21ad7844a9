"""Log-probabilities of targets through whole models, against their full logits, in float64."""

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

from ft_plugin_trainer.logprobs import gather_logprobs
from ft_plugin_trainer.objective import NextToken
from ft_plugin_trainer.targets import IGNORE, PROBED, TargetLogprobs, sum_by_row
from ftk_sdk.evidence import checked
from ftk_sdk.tiny import tiny_llama

V, B, T = 96, 3, 11
SMALL = {
    "vocab_size": V,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 3,
}


def lora_on_head():
    model = get_peft_model(tiny_llama(vocab_size=V), LoraConfig(r=4, target_modules=["q_proj", "lm_head"]))
    torch.manual_seed(1)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p)
    return model


def saved_head():
    return get_peft_model(
        tiny_llama(vocab_size=V), LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=["lm_head"])
    )


MODELS = {
    "llama": lambda: tiny_llama(vocab_size=V),
    "tied": lambda: tiny_llama(vocab_size=V, tied=True),
    "soft-capped": lambda: Gemma2ForCausalLM(Gemma2Config(**SMALL, final_logit_softcapping=3.0)),
    "multiplied": lambda: CohereForCausalLM(CohereConfig(**SMALL, logit_scale=0.25)),
    "divided": lambda: GraniteForCausalLM(GraniteConfig(**SMALL, logits_scaling=7.0)),
    "lora on the head": lora_on_head,
    "head trained beside lora": saved_head,
}


def batch():
    g = torch.Generator().manual_seed(0)
    input_ids = torch.randint(4, V, (B, T), generator=g)
    targets_BT = torch.where(torch.rand(B, T, generator=g) < 0.4, torch.randint(V, (B, T), generator=g), IGNORE)
    return {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}, targets_BT


def from_full_logits(model, inputs, targets_BT, smoothing):
    logp_BTV = model(**inputs).logits.log_softmax(-1)
    mask_BT = targets_BT != IGNORE
    logp_NV = logp_BTV[mask_BT]
    picked_N = logp_NV.gather(-1, targets_BT[mask_BT][:, None]).squeeze(-1)
    return (1 - smoothing) * picked_N + smoothing * logp_NV.mean(-1), logp_NV.argmax(-1)


@checked(
    stage="all",
    loss="log-probabilities of a model's targets",
    against="the model's own logits in float64, values, predictions and every gradient",
)
@pytest.mark.parametrize("chunk", [V, 10**6], ids=["chunks of one row", "one chunk"])
@pytest.mark.parametrize("name", MODELS)
def test_values_predictions_and_every_gradient_equal_those_of_full_logits(name, chunk):
    torch.manual_seed(0)
    model = MODELS[name]().double().train()
    inputs, targets_BT = batch()
    expected_N, predicted_N = from_full_logits(model, inputs, targets_BT, 0.1)
    weights_N = torch.linspace(-1, 2, len(expected_N), dtype=torch.float64)
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    expected_grads = torch.autograd.grad((expected_N * weights_N).sum(), list(parameters.values()))

    scores = TargetLogprobs(label_smoothing=0.1, chunk_elements=chunk)(model, inputs, targets_BT, predict=True)
    grads = torch.autograd.grad((scores.logprobs_N * weights_N).sum(), list(parameters.values()))

    torch.testing.assert_close(scores.logprobs_N, expected_N, rtol=0, atol=1e-9)
    assert scores.predicted_N.tolist() == predicted_N.tolist()
    for n, ours, theirs in zip(parameters, grads, expected_grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9, msg=lambda text, n=n: f"{n}: {text}")


def test_the_logits_of_positions_without_a_target_are_never_made():
    model = tiny_llama(vocab_size=V)
    inputs, targets_BT = batch()
    shapes = []
    model.lm_head.register_forward_hook(lambda head, args, out: shapes.append(tuple(out.shape)))
    scores = TargetLogprobs()
    with torch.no_grad():
        scores(model, inputs, targets_BT)
    assert shapes == [(1, 1, V), (1, 0, V)]  # the probe of the first call, then nothing


def test_the_first_call_runs_a_few_tokens_more_unless_the_inputs_hold_more_than_tokens():
    for more, probed in (({}, (1, PROBED)), ({"output_attentions": False}, (B, T))):
        model, (inputs, targets_BT) = tiny_llama(vocab_size=V), batch()
        shapes = []
        model.model.embed_tokens.register_forward_hook(lambda _, args, out, shapes=shapes: shapes.append(out.shape[:2]))
        TargetLogprobs()(model, inputs | more, targets_BT)
        assert shapes == [probed, (B, T)]


class Strange(torch.nn.Module):
    """A head behind which a model does something that no config describes."""

    def __init__(self, model):
        super().__init__()
        self.model, self.config = model, model.config

    def get_output_embeddings(self):
        return self.model.lm_head

    def forward(self, **inputs):
        out = self.model(**inputs)
        out.logits = out.logits * 2 + torch.arange(V) / V
        return out


def test_a_model_that_does_more_with_its_logits_is_computed_through_its_own_forward():
    model = Strange(tiny_llama(vocab_size=V)).double()
    inputs, targets_BT = batch()
    expected_N, _ = from_full_logits(model, inputs, targets_BT, 0.0)
    torch.testing.assert_close(TargetLogprobs()(model, inputs, targets_BT).logprobs_N, expected_N, rtol=0, atol=1e-9)


def test_virtual_tokens_of_an_adapter_are_no_positions_of_the_batch():
    model = get_peft_model(tiny_llama(vocab_size=V), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    model.double().eval()
    inputs, targets_BT = batch()
    mask_BT = targets_BT != IGNORE
    logits_NV = model(**inputs).logits[:, 4:][mask_BT]
    scores = TargetLogprobs()(model, inputs, targets_BT)
    torch.testing.assert_close(scores.logprobs_N, gather_logprobs(logits_NV, targets_BT[mask_BT]), rtol=0, atol=1e-9)


def test_the_load_of_experts_is_balanced_as_the_model_asks_but_not_in_evaluation():
    sizes = {"num_local_experts": 4, "num_experts_per_tok": 2}
    config = MixtralConfig(**SMALL, **sizes, output_router_logits=True, router_aux_loss_coef=0.3)
    model = MixtralForCausalLM(config)  # its grouped product has no float64
    inputs, labels = batch()[0], batch()[1]
    objective = NextToken()
    total, count = objective.sums(model.train(), inputs | {"labels": labels})["loss"]
    out = model(**inputs, labels=labels)
    torch.testing.assert_close(total / count, out.loss, rtol=0, atol=1e-5)
    assert out.aux_loss > 0
    total, _ = objective.sums(model.eval(), inputs | {"labels": labels})["loss"]
    torch.testing.assert_close(total / count, out.loss - 0.3 * out.aux_loss, rtol=0, atol=1e-5)


def test_a_model_that_does_not_call_its_head_is_computed_from_its_logits():
    model = tiny_llama(vocab_size=V).double()
    model.get_output_embeddings = lambda: torch.nn.Linear(32, V)
    inputs, targets_BT = batch()
    expected_N, _ = from_full_logits(model, inputs, targets_BT, 0.0)
    torch.testing.assert_close(TargetLogprobs()(model, inputs, targets_BT).logprobs_N, expected_N, rtol=0, atol=1e-9)


def test_the_first_call_draws_no_random_numbers_that_later_ones_do_not():
    model = tiny_llama(vocab_size=V).train()
    model.model.layers[0].register_forward_hook(lambda layer, args, out: torch.nn.functional.dropout(out, 0.5))
    inputs, targets_BT = batch()
    scores = TargetLogprobs()
    torch.manual_seed(5)
    first = scores(model, inputs, targets_BT).logprobs_N
    torch.manual_seed(5)
    assert torch.equal(scores(model, inputs, targets_BT).logprobs_N, first)


def test_a_batch_without_targets_gives_nothing_and_still_a_gradient():
    model = tiny_llama(vocab_size=V)
    inputs, targets_BT = batch()
    logprobs_N = TargetLogprobs()(model, inputs, torch.full_like(targets_BT, IGNORE)).logprobs_N
    logprobs_N.sum().backward()
    assert logprobs_N.shape == (0,)


def test_values_are_summed_by_row():
    mask_BT = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])
    assert sum_by_row(torch.arange(1.0, 6.0), mask_BT).tolist() == [3.0, 0.0, 12.0]
