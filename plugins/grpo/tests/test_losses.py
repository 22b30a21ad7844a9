"""Losses and advantages in float64 against what the papers say, written as plainly as they say it."""

import math
import statistics

import pytest
import torch

from ft_plugin_grpo.advantages import EPSILON, group
from ft_plugin_grpo.losses import LOSSES, k3, weights_of
from ftk_sdk.evidence import checked

LENGTHS = [5, 1, 3, 7]
LONGEST = 9
LOW, HIGH = 0.2, 0.28


def case(seed=0):
    """Log-probabilities now, when drawn, and by the reference; an advantage for each row; the row of each token."""
    g = torch.Generator().manual_seed(seed)
    n = sum(LENGTHS)
    old_N = -3 * torch.rand(n, generator=g, dtype=torch.float64)
    new_N = (old_N + 0.4 * torch.randn(n, generator=g, dtype=torch.float64)).requires_grad_()
    reference_N = old_N + 0.3 * torch.randn(n, generator=g, dtype=torch.float64)
    advantages_B = torch.tensor([1.3, -0.7, -1.1, 0.4], dtype=torch.float64)
    row_N = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))
    return new_N, old_N, reference_N, advantages_B, row_N


def ours(name, new_N, old_N, reference_N, advantages_B, row_N, beta):
    loss = LOSSES[name]
    loss_N, _ = loss.surrogate(new_N, old_N, advantages_B[row_N], row_N, low=LOW, high=HIGH)
    weights_N = weights_of(loss.per, row_N, longest=LONGEST)
    count = len(row_N) if loss.per == "token" else len(LENGTHS)
    return ((loss_N + beta * k3(new_N, reference_N)) * weights_N).sum() / count


def plain(name, new_N, old_N, reference_N, advantages_B, row_N, beta):
    """Completion by completion, token by token."""
    sums = []
    for row, (length, advantage) in enumerate(zip(LENGTHS, advantages_B.tolist(), strict=True)):
        at = [i for i in range(len(row_N)) if row_N[i] == row]
        log_ratios = [new_N[i] - old_N[i] for i in at]
        total = 0.0
        for i, log_ratio in zip(at, log_ratios, strict=True):
            ratio = log_ratio.exp()
            if name == "gspo":
                ratio = (sum(log_ratios) / length).exp()
            if name == "rloo":
                ratio = sum(log_ratios).exp()
            if name == "cispo":
                value = min(ratio.item(), 1 + HIGH) * advantage * new_N[i]
            else:
                bounded = ratio.clamp(1 - LOW, 1 + HIGH)
                value = bounded * advantage if bounded * advantage < ratio * advantage else ratio * advantage
            x = reference_N[i] - new_N[i]
            total = total - value + beta * (x.exp() - x - 1)
        sums.append(total)
    if name in ("dapo", "bnpo", "cispo"):
        return sum(sums) / sum(LENGTHS)
    if name == "dr_grpo":
        return sum(sums) / (len(LENGTHS) * LONGEST)
    return sum(total / length for total, length in zip(sums, LENGTHS, strict=True)) / len(LENGTHS)


@checked(
    stage="grpo",
    loss=["grpo", "dr_grpo", "dapo", "bnpo", "gspo", "cispo", "rloo"],
    against="float64 loop over tokens of each paper's equation, value and gradient, with and without divergence",
)
@pytest.mark.parametrize("beta", [0.0, 0.3])
@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_is_the_papers_in_value_and_gradient(name, beta):
    given, again = case(), case()
    value, wanted = ours(name, *given, beta), plain(name, *again, beta)
    value.backward()
    wanted.backward()
    torch.testing.assert_close(value, wanted, rtol=0, atol=1e-9)
    torch.testing.assert_close(given[0].grad, again[0].grad, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_where_nothing_has_changed_the_gradient_is_that_of_reinforce(name):
    """Ratios of 1 are not clipped: the gradient is minus the advantage times that of the log-probability."""
    new_N, _, _, advantages_B, row_N = case()
    loss_N, clipped_N = LOSSES[name].surrogate(new_N, new_N.detach(), advantages_B[row_N], row_N, low=LOW, high=HIGH)
    weights_N = weights_of("sequence", row_N, longest=LONGEST)
    (loss_N * weights_N).sum().backward()
    scale_N = torch.ones_like(weights_N) if name == "rloo" else weights_N
    torch.testing.assert_close(new_N.grad, -advantages_B[row_N] * scale_N, rtol=0, atol=1e-12)
    assert not clipped_N.any()


def test_clipped_tokens_are_those_without_a_gradient():
    new_N, old_N, _, advantages_B, row_N = case(seed=3)
    loss_N, clipped_N = LOSSES["dapo"].surrogate(new_N, old_N, advantages_B[row_N], row_N, low=LOW, high=HIGH)
    loss_N.sum().backward()
    assert 0 < clipped_N.sum() < len(row_N)
    assert torch.equal(new_N.grad == 0, clipped_N)


def test_k3_is_zero_where_models_agree_and_never_negative():
    new_N, _, reference_N, *_ = case()
    assert (k3(new_N, reference_N) >= 0).all()
    assert k3(new_N, new_N.detach()).abs().max() == 0


@checked(stage="grpo", loss="advantage group", against="Python's statistics on each group and on all of them")
@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_advantages_are_rewards_less_their_groups_mean_by_a_deviation(scale):
    rewards = [[1.0, 0.0, 0.5, 2.0], [3.0, 3.0, 1.0, -1.0]]
    made = group(torch.tensor(rewards, dtype=torch.float64), scale=scale).tolist()
    for row, values in zip(rewards, made, strict=True):
        by = {
            "group": statistics.stdev(row) + EPSILON,
            "batch": statistics.stdev(rewards[0] + rewards[1]) + EPSILON,
            "none": 1.0,
        }[scale]
        assert values == pytest.approx([(r - statistics.mean(row)) / by for r in row], rel=0, abs=1e-9)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_equal_rewards_give_no_advantage_and_missing_ones_are_left_out(scale):
    nan = math.nan
    made = group(torch.tensor([[1.0, 1.0, 1.0], [2.0, nan, 0.0], [nan, nan, nan]], dtype=torch.float64), scale=scale)
    assert made[0].tolist() == [0, 0, 0]
    assert made[1, 0] > 0 > made[1, 2] and made[1, 1].isnan()
    assert made[2].isnan().all()
    without = group(torch.tensor([[2.0, 0.0]], dtype=torch.float64), scale=scale)
    if scale != "batch":
        assert made[1, 0] == without[0, 0]
