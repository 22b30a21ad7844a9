"""The mathematics of PPO on language models.

Shape suffixes: B answers, T tokens of the longest answer. Answers are padded on the right; ``mask_BT`` is 1 on their
tokens and 0 beyond. Log-probabilities and values of padding may be anything finite.
"""

from __future__ import annotations

import torch


def token_rewards(
    score_B: torch.Tensor, logp_BT: torch.Tensor, ref_BT: torch.Tensor, mask_BT: torch.Tensor, *, kl_coeff: float
) -> torch.Tensor:
    """Equation 2 of arXiv:1909.08593, token by token: ``-kl_coeff (log pi - log rho)``, and the score at the last one.

    logp_BT, ref_BT  log-probabilities of the answers' tokens by the policy that wrote them and by the reference
    """
    reward_BT = -kl_coeff * (logp_BT - ref_BT) * mask_BT
    last_B = mask_BT.long().sum(1) - 1
    return reward_BT.index_put((torch.arange(len(last_B), device=last_B.device), last_B), score_B, accumulate=True)


def advantages(
    reward_BT: torch.Tensor, value_BT: torch.Tensor, mask_BT: torch.Tensor, *, gamma: float, lam: float
) -> torch.Tensor:
    """Generalised advantage estimates, equation 16 of arXiv:1506.02438; the value after the last token is 0.

    ``A_t = sum over l of (gamma lam)^l delta_(t+l)`` with ``delta_t = r_t + gamma V_(t+1) - V_t`` (equation 10).
    """
    value_BT = value_BT * mask_BT
    next_BT = torch.cat([value_BT[:, 1:], torch.zeros_like(value_BT[:, :1])], dim=1)
    delta_BT = (reward_BT + gamma * next_BT - value_BT) * mask_BT
    running_B = torch.zeros_like(delta_BT[:, 0])
    backwards = []
    for delta_B in delta_BT.flip(1).unbind(1):
        running_B = delta_B + gamma * lam * running_B
        backwards.append(running_B)
    return torch.stack(backwards[::-1], dim=1)


def moments(x_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """Number, sum and sum of squares of what the mask holds, in float64: to be added up over processes."""
    kept = x_BT[mask_BT.bool()].double()
    return torch.stack([kept.new_tensor(len(kept)), kept.sum(), kept.square().sum()])


def whitened(x_BT: torch.Tensor, mask_BT: torch.Tensor, total: torch.Tensor, *, shift: bool = True) -> torch.Tensor:
    """Scaled to variance 1 and, with ``shift``, mean 0 over everything in ``total``, the sum of ``moments``."""
    _, mean, variance = mean_and_variance(total)
    white_BT = (x_BT - mean) * torch.rsqrt(variance + 1e-8)
    return (white_BT if shift else white_BT + mean).to(x_BT.dtype) * mask_BT


def mean_and_variance(total: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Number, mean and unbiased variance (0 of a single value) from a sum of ``moments``."""
    n, first, second = total.unbind()
    mean = first / n
    return n, mean, ((second - n * mean.square()) / (n - 1).clamp(min=1)).clamp(min=0)


def policy_loss(logp_N: torch.Tensor, old_N: torch.Tensor, advantage_N: torch.Tensor, *, clip: float) -> torch.Tensor:
    """Minus equation 7 of arXiv:1707.06347, for each token: the clipped surrogate objective."""
    ratio_N = torch.exp(logp_N - old_N)
    return -torch.minimum(ratio_N * advantage_N, ratio_N.clamp(1 - clip, 1 + clip) * advantage_N)


def value_loss(value_N: torch.Tensor, old_N: torch.Tensor, return_N: torch.Tensor, *, clip: float) -> torch.Tensor:
    """Half the squared error, for each token, of the value or of the value kept within ``clip`` of the old one.

    The larger of the two, as in the code of arXiv:1707.06347 and of arXiv:1909.08593.
    """
    near_N = torch.minimum(torch.maximum(value_N, old_N - clip), old_N + clip)
    return 0.5 * torch.maximum((value_N - return_N).square(), (near_N - return_N).square())


def adapted_coefficient(kl_coeff: float, kl: float, *, target: float, answers: int, horizon: int) -> float:
    """Section 2.2 of arXiv:1909.08593: a controller that is proportional in log space.

    kl       mean divergence of an answer from the reference, in nats, over the last ``answers`` answers
    horizon  answers over which the coefficient changes by the largest error, 20 %
    """
    error = min(max(kl / target - 1, -0.2), 0.2)
    return kl_coeff * (1 + error * answers / horizon)
