"""Binary classifier optimisation (arXiv:2404.04656)."""

import torch
from torch.nn import functional as F


def bco_loss(rewards_B: torch.Tensor, desirable_B: torch.Tensor, *, delta: torch.Tensor | float) -> torch.Tensor:
    """arXiv:2404.04656 with its reward shift: ``-log sigmoid(r - delta)`` of good answers, ``delta - r`` of bad ones.

    rewards_B  beta times the log-ratio of policy and reference, of B answers
    delta      the reward shift: halfway between the mean rewards of good and of bad answers
    """
    sign_B = torch.where(desirable_B, 1.0, -1.0).to(rewards_B.dtype)
    return -F.logsigmoid(sign_B * (rewards_B - delta))


def reward_shift(reward_sums_2: torch.Tensor, counts_2: torch.Tensor) -> torch.Tensor:
    """``(E[r | good] + E[r | bad]) / 2`` from sums and counts of both; of one alone where the other has none."""
    seen_2 = counts_2 > 0
    if not seen_2.any():
        return reward_sums_2.new_zeros(())
    return (reward_sums_2[seen_2] / counts_2[seen_2]).mean()
