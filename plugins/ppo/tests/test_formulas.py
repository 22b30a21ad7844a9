"""Each formula, value and gradient, against loops that read like the papers."""

import math

import pytest
import torch

from ft_plugin_ppo.formulas import (
    adapted_coefficient,
    advantages,
    mean_and_variance,
    moments,
    policy_loss,
    token_rewards,
    value_loss,
    whitened,
)
from ftk_sdk.evidence import checked

LENGTHS = [5, 1, 3, 4]
B, T = len(LENGTHS), max(LENGTHS)
MASK = torch.tensor([[float(t < n) for t in range(T)] for n in LENGTHS], dtype=torch.float64)


def random(*shape, seed=0, grad=False):
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn.requires_grad_(grad)


def close(made, wanted):
    torch.testing.assert_close(made, wanted, rtol=0, atol=1e-9)


@checked(stage="ppo", loss="reward of a token", against="float64 loop, equation 2 of arXiv:1909.08593")
def test_a_token_is_rewarded_for_staying_near_the_reference_and_the_last_one_with_the_score():
    score, logp, ref = random(B, seed=1), random(B, T, seed=2), random(B, T, seed=3)
    made = token_rewards(score, logp, ref, MASK, kl_coeff=0.3)
    for b, n in enumerate(LENGTHS):
        for t in range(T):
            wanted = -0.3 * (logp[b, t] - ref[b, t]) if t < n else torch.zeros((), dtype=torch.float64)
            close(made[b, t], wanted + score[b] if t == n - 1 else wanted)


@checked(stage="ppo", loss="GAE", against="float64 double sum, equations 10 and 16 of arXiv:1506.02438")
@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.8), (1.0, 1.0), (0.7, 0.0)])
def test_advantages_are_the_papers_sum_over_later_residuals(gamma, lam):
    reward, value = random(B, T, seed=1), random(B, T, seed=2)
    made = advantages(reward, value, MASK, gamma=gamma, lam=lam)
    for b, n in enumerate(LENGTHS):
        v = [*value[b, :n].tolist(), 0.0]
        delta = [reward[b, t].item() + gamma * v[t + 1] - v[t] for t in range(n)]
        for t in range(T):
            wanted = sum((gamma * lam) ** (k - t) * delta[k] for k in range(t, n))
            assert made[b, t].item() == pytest.approx(wanted, rel=0, abs=1e-9)


def test_with_lambda_one_an_advantage_is_the_discounted_return_less_the_value():
    reward, value = random(B, T, seed=1), random(B, T, seed=2)
    made = advantages(reward, value, MASK, gamma=0.9, lam=1.0)
    wanted = sum(0.9**t * reward[0, t] for t in range(T)) - value[0, 0]
    close(made[0, 0], wanted)


@checked(stage="ppo", loss="whitening", against="float64 mean and standard deviation of torch over the masked tokens")
def test_whitening_is_over_all_parts_together_and_leaves_padding_out():
    x = 3 + 2 * random(B, T)
    kept = x[MASK.bool()]
    total = sum(moments(x[rows], MASK[rows]) for rows in (slice(0, 1), slice(1, 4)))
    wanted = (kept - kept.mean()) / torch.sqrt(kept.var() + 1e-8)
    close(whitened(x, MASK, total)[MASK.bool()], wanted)
    close(whitened(x, MASK, total, shift=False)[MASK.bool()], wanted + kept.mean())
    assert not whitened(x, MASK, total)[~MASK.bool()].any()


def test_one_value_has_no_variance():
    n, mean, variance = mean_and_variance(moments(torch.tensor([[2.0]]), torch.tensor([[1]])))
    assert (n, mean, variance) == (1, 2, 0)


@checked(stage="ppo", loss="policy", against="float64 loop over the cases of equation 7 of arXiv:1707.06347")
def test_the_policy_loss_and_its_gradient_are_those_of_the_clipped_objective():
    old, advantage = random(40, seed=1), random(40, seed=2)
    logp = (old + 0.4 * random(40, seed=3)).requires_grad_()
    made = policy_loss(logp, old, advantage, clip=0.2)
    made.sum().backward()
    outside = 0
    for n in range(40):
        ratio, a = math.exp(logp[n].item() - old[n].item()), advantage[n].item()
        # Where the objective is clipped it is constant: no gradient.
        if a > 0 and ratio > 1.2:
            value, slope = -1.2 * a, 0.0
        elif a < 0 and ratio < 0.8:
            value, slope = -0.8 * a, 0.0
        else:
            value, slope = -ratio * a, -ratio * a
        outside += slope == 0.0
        assert made[n].item() == pytest.approx(value, rel=0, abs=1e-9)
        assert logp.grad[n].item() == pytest.approx(slope, rel=0, abs=1e-9)
    assert 5 < outside < 35


@checked(stage="ppo", loss="value", against="float64 loop over the cases of the clipped error")
def test_the_value_loss_and_its_gradient_are_those_of_the_larger_error():
    old, wanted = random(40, seed=1), random(40, seed=2)
    value = (old + 0.4 * random(40, seed=3)).requires_grad_()
    made = value_loss(value, old, wanted, clip=0.2)
    made.sum().backward()
    outside = 0
    for n in range(40):
        v, o, r = value[n].item(), old[n].item(), wanted[n].item()
        near = min(max(v, o - 0.2), o + 0.2)
        free, kept = (v - r) ** 2 / 2, (near - r) ** 2 / 2
        slope = v - r if free >= kept else 0.0
        outside += slope == 0.0
        assert made[n].item() == pytest.approx(max(free, kept), rel=0, abs=1e-9)
        assert value.grad[n].item() == pytest.approx(slope, rel=0, abs=1e-9)
    assert 3 < outside < 37


@checked(stage="ppo", loss="adaptive KL", against="the controller of section 2.2 of arXiv:1909.08593")
def test_the_coefficient_rises_with_the_divergence_by_at_most_a_fifth_over_the_horizon():
    change = dict(target=6.0, answers=100, horizon=1000)
    assert adapted_coefficient(0.2, 6.0, **change) == 0.2
    assert adapted_coefficient(0.2, 6.6, **change) == pytest.approx(0.2 * (1 + 0.1 * 0.1))
    assert adapted_coefficient(0.2, 99.0, **change) == pytest.approx(0.2 * (1 + 0.2 * 0.1))
    assert adapted_coefficient(0.2, -1.0, **change) == pytest.approx(0.2 * (1 - 0.2 * 0.1))
