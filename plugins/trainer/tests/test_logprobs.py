"""The chunked primitive against the plain computation, in float64."""

import pytest
import torch
from torch.nn import functional as F

from ft_plugin_trainer.logprobs import LogitShape, gather_logprobs, linear_logprobs
from ftk_sdk.evidence import checked

N, H, V = 37, 12, 29


def naive(hidden, weight, bias, targets, shape, smoothing):
    logits = F.linear(hidden, weight, bias) * shape.scale
    if shape.cap is not None:
        logits = shape.cap * torch.tanh(logits / shape.cap)
    logp = logits.log_softmax(-1)
    picked = logp.gather(-1, targets[:, None]).squeeze(-1)
    return (1 - smoothing) * picked + smoothing * logp.mean(-1)


def problem(dtype=torch.float64, *, bias=True):
    g = torch.Generator().manual_seed(0)
    hidden = torch.randn(N, H, generator=g, dtype=torch.float64).to(dtype).requires_grad_()
    weight = torch.randn(V, H, generator=g, dtype=torch.float64).to(dtype).requires_grad_()
    b = torch.randn(V, generator=g, dtype=torch.float64).to(dtype).requires_grad_() if bias else None
    targets = torch.randint(V, (N,), generator=g)
    upstream = torch.randn(N, generator=g, dtype=torch.float64)
    return hidden, weight, b, targets, upstream


@checked(stage="all", loss="log-probabilities of targets", against="whole logits in float64, value and every gradient")
@pytest.mark.parametrize("chunk", [1, 5 * V, 10**6], ids=["one row", "five rows", "one chunk"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("shape", [LogitShape(), LogitShape(scale=0.3), LogitShape(cap=2.0), LogitShape(1.7, 3.0)])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_all_gradients_equal_the_naive_computation(chunk, smoothing, shape, bias):
    hidden, weight, b, targets, upstream = problem(bias=bias)
    parameters = [p for p in (hidden, weight, b) if p is not None]
    expected = naive(hidden, weight, b, targets, shape, smoothing)
    expected_grads = torch.autograd.grad((expected * upstream).sum(), parameters)

    value = linear_logprobs(
        hidden, weight, targets, bias_V=b, shape=shape, label_smoothing=smoothing, chunk_elements=chunk
    )
    grads = torch.autograd.grad((value * upstream).sum(), parameters)

    torch.testing.assert_close(value, expected, rtol=0, atol=1e-9)
    for ours, theirs in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


def test_the_gradient_holds_for_a_loss_that_is_not_linear_in_the_log_probabilities():
    hidden, weight, b, targets, upstream = problem()

    def loss(logp):
        return (
            -F.logsigmoid(logp[: N // 2].sum() - logp[N // 2 :].sum()) + (logp.exp().detach() * logp * upstream).sum()
        )

    expected = torch.autograd.grad(loss(naive(hidden, weight, b, targets, LogitShape(), 0.0)), [hidden, weight, b])
    ours = torch.autograd.grad(
        loss(linear_logprobs(hidden, weight, targets, bias_V=b, chunk_elements=3 * V)), [hidden, weight, b]
    )
    for a, e in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=0, atol=1e-9)


def test_a_frozen_head_gets_no_gradient_and_the_hidden_states_do():
    hidden, weight, _, targets, _ = problem(bias=False)
    weight.requires_grad_(False)
    linear_logprobs(hidden, weight, targets).sum().backward()
    assert weight.grad is None
    assert hidden.grad.abs().sum() > 0


def test_no_targets_give_an_empty_result_that_still_has_a_gradient():
    hidden, weight, _, _, _ = problem(bias=False)
    empty = linear_logprobs(hidden[:0], weight, torch.empty(0, dtype=torch.long))
    empty.sum().backward()
    assert empty.shape == (0,)
    assert weight.grad.abs().sum() == 0


def test_lower_precisions_are_summed_in_float32():
    hidden, weight, b, targets, _ = problem(torch.bfloat16)
    value = linear_logprobs(hidden, weight, targets, bias_V=b)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, gather_logprobs(F.linear(hidden, weight, b), targets))
    value.sum().backward()
    assert hidden.grad.dtype == weight.grad.dtype == torch.bfloat16


def test_autocast_decides_the_type_of_the_products():
    hidden, weight, _, targets, _ = problem(torch.float32, bias=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = linear_logprobs(hidden, weight, targets)
    expected = gather_logprobs(F.linear(hidden.bfloat16(), weight.bfloat16()), targets)
    torch.testing.assert_close(value, expected)
    value.sum().backward()
    assert weight.grad.dtype == torch.float32
