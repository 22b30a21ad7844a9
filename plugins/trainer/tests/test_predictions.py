"""Losses of whole predictions through whole models, against their full logits, in float64."""

import copy
from contextlib import contextmanager

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional as F
from transformers import Gemma2Config, Gemma2ForCausalLM

from ft_plugin_trainer.objective import NextToken
from ft_plugin_trainer.predictions import PredictionLoss, PredictionScores, entropy, kl_divergence
from ft_plugin_trainer.targets import IGNORE, TargetLogprobs
from ftk_sdk.tiny import tiny_llama

V, B, T = 96, 3, 11
CAPPED = {
    "vocab_size": V,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "final_logit_softcapping": 3.0,
}


def lora_on_head():
    model = get_peft_model(tiny_llama(vocab_size=V), LoraConfig(r=4, target_modules=["q_proj", "lm_head"]))
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p)
    return model


class Strange(torch.nn.Module):
    """A model that shifts its logits in a way that no config describes."""

    def __init__(self):
        super().__init__()
        self.model = tiny_llama(vocab_size=V)
        self.config = self.model.config

    def get_output_embeddings(self):
        return self.model.lm_head

    def forward(self, **inputs):
        out = self.model(**inputs)
        out.logits = out.logits + torch.linspace(0, 3, V, dtype=out.logits.dtype)
        return out


MODELS = {
    "llama": lambda: tiny_llama(vocab_size=V),
    "tied": lambda: tiny_llama(vocab_size=V, tied=True),
    "soft-capped": lambda: Gemma2ForCausalLM(Gemma2Config(**CAPPED)),
    "lora on the head": lora_on_head,
    "unknown shape": Strange,
}


class Kept:
    """A reference: a model of its own."""

    def __init__(self, model):
        self.model = model

    @contextmanager
    def active(self, policy):
        with torch.no_grad():
            yield self.model


def batch():
    g = torch.Generator().manual_seed(0)
    input_ids = torch.randint(4, V, (B, T), generator=g)
    labels = torch.where(torch.rand(B, T, generator=g) < 0.6, input_ids, IGNORE)
    return {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids), "labels": labels}


def everything(at):
    """A loss that looks at all there is."""
    certainty_N = entropy(at.logits_NV, top=7)
    kl_N = kl_divergence(at.reference_logprobs_NV, at.logprobs_NV)
    return certainty_N * at.cross_entropy_N + at.target_logprobs_N.exp() + kl_N * at.columns["factor"]


@pytest.mark.parametrize("chunk", [2 * V, 10**6], ids=["chunks of two rows", "one chunk"])
@pytest.mark.parametrize("name", MODELS)
def test_values_and_every_gradient_equal_those_of_full_logits(name, chunk):
    torch.manual_seed(0)
    model = MODELS[name]().double().train()
    reference = copy.deepcopy(model)
    for p in reference.parameters():
        p.data = p.data * 1.1
    inputs = {k: v for k, v in batch().items() if k != "labels"}
    targets_BT = F.pad(batch()["labels"][:, 1:], (0, 1), value=IGNORE)
    mask_BT = targets_BT != IGNORE
    targets_N = targets_BT[mask_BT]
    factor_N = torch.linspace(0, 1, len(targets_N), dtype=torch.float64)
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}

    logits_NV = model(**inputs).logits[mask_BT]
    logp_NV = logits_NV - logits_NV.exp().sum(-1, keepdim=True).log()
    top_NV = torch.stack([row[row.argsort()[-7:]] for row in logits_NV]).softmax(-1)
    picked_N = torch.stack([logp_NV[i, t] for i, t in enumerate(targets_N)])
    with torch.no_grad():
        ref_NV = reference(**inputs).logits[mask_BT].log_softmax(-1)
    smooth_N = -0.9 * picked_N - 0.1 * logp_NV.mean(-1)
    expected_N = -(top_NV * top_NV.log()).sum(-1) * smooth_N + picked_N.exp()
    expected_N = expected_N + (ref_NV.exp() * (ref_NV - logp_NV)).sum(-1) * factor_N
    expected = torch.autograd.grad((expected_N * factor_N).sum(), list(parameters.values()))

    scores = PredictionScores(
        everything, label_smoothing=0.1, reference=Kept(reference), scores=TargetLogprobs(chunk_elements=chunk)
    )
    loss_N = -scores(model, inputs, targets_BT, columns={"factor": factor_N}).logprobs_N
    grads = torch.autograd.grad((loss_N * factor_N).sum(), list(parameters.values()))

    torch.testing.assert_close(loss_N, expected_N, rtol=0, atol=1e-9)
    for n, ours, theirs in zip(parameters, grads, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9, msg=lambda text, n=n: f"{n}: {text}")


class SwappedWeights:
    """A reference that is the policy with its starting weights, put there and taken away for each use."""

    def __init__(self, model):
        self.weights = [p.detach().clone() for p in model.parameters()]

    @contextmanager
    def active(self, policy):
        now = [p.data for p in policy.parameters()]
        try:
            for p, weight in zip(policy.parameters(), self.weights, strict=True):
                p.data = weight
            with torch.no_grad():
                yield policy
        finally:
            for p, weight in zip(policy.parameters(), now, strict=True):
                p.data = weight


def test_a_reference_may_be_the_policy_with_other_weights():
    model = tiny_llama(vocab_size=V, dtype=torch.float64)
    swapped, kept = SwappedWeights(model), Kept(copy.deepcopy(model))
    for p in model.parameters():
        p.data = p.data * 1.2
    inputs = {k: v for k, v in batch().items() if k != "labels"}
    targets_BT = F.pad(batch()["labels"][:, 1:], (0, 1), value=IGNORE)
    results = []
    for reference in (swapped, kept):
        model.zero_grad()
        scores = PredictionScores(
            lambda at: kl_divergence(at.logprobs_NV, at.reference_logprobs_NV),
            reference=reference,
            scores=TargetLogprobs(chunk_elements=3 * V),
        )
        loss = -scores(model, inputs, targets_BT).logprobs_N.sum()
        loss.backward()
        results.append([loss.detach(), *(p.grad.clone() for p in model.parameters())])
    assert results[0][0] > 0.01
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "token_loss", [None, lambda logp_N: logp_N**2, PredictionLoss(lambda at: entropy(at.logits_NV))]
)
def test_z_loss_is_added_to_any_loss_and_respects_weights_and_label_smoothing(token_loss):
    model, rows = tiny_llama(vocab_size=V, dtype=torch.float64).train(), batch()
    rows["weights"] = torch.linspace(0.5, 2, B * T, dtype=torch.float64).view(B, T)
    mask_BT = rows["labels"][:, 1:] != IGNORE
    settings = {"label_smoothing": 0.1, "token_loss": token_loss}
    plain = NextToken(**settings).sums(model, rows)["loss"][0]
    both, count = NextToken(**settings, z_loss=0.01).sums(model, rows)["loss"]
    inputs = {k: v for k, v in rows.items() if k not in ("labels", "weights")}
    logits_NV = model(**inputs).logits[:, :-1][mask_BT]
    weights_N = rows["weights"][:, 1:][mask_BT]
    z = (weights_N * logits_NV.exp().sum(-1).log() ** 2).sum()
    torch.testing.assert_close(both - plain, 0.01 * z, rtol=0, atol=1e-9)
    torch.testing.assert_close(count, weights_N.sum())


def test_the_logits_of_both_models_are_held_a_chunk_at_a_time():
    model, reference = tiny_llama(vocab_size=V), tiny_llama(vocab_size=V, seed=1)
    sizes = []

    def watch(at):
        sizes.append((len(at.logits_NV), len(at.reference_NV)))
        return kl_divergence(at.logprobs_NV, at.reference_logprobs_NV)

    inputs = {k: v for k, v in batch().items() if k != "labels"}
    targets_BT = F.pad(batch()["labels"][:, 1:], (0, 1), value=IGNORE)
    scores = PredictionScores(watch, reference=Kept(reference), scores=TargetLogprobs(chunk_elements=4 * V))
    with torch.no_grad():
        scores(model, inputs, targets_BT)
    assert sum(n for n, _ in sizes) == int((targets_BT != IGNORE).sum())
    assert max(max(pair) for pair in sizes) == 4


def test_accuracy_is_found_beside_a_loss_of_predictions():
    model, rows = tiny_llama(vocab_size=V).eval(), batch()
    by_loss = NextToken(accuracy=True, token_loss=PredictionLoss(lambda at: at.cross_entropy_N)).sums(model, rows)
    plain = NextToken(accuracy=True).sums(model, rows)
    torch.testing.assert_close(by_loss, plain)
