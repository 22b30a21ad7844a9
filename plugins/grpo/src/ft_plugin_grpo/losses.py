"""What policy gradients minimise: pure functions of tensors.

Shape suffixes: N tokens of completions, row after row; B rows. ``row_N`` says which row a token belongs to.

A loss has two parts: the surrogate, a value for each token, and what its sum is divided by. Both sums run over the
global batch, so that no loss depends on how the batch is cut into micro-batches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from ftk.markers import hookimpl

Surrogate = Callable[..., tuple[torch.Tensor, torch.Tensor]]
"""``(new_N, old_N, advantages_N, row_N, low=, high=) -> (loss_N, clipped_N)``.

new_N, old_N   log-probabilities of the tokens now (with gradient) and when they were drawn
advantages_N   the advantage of each token's completion
low, high      by how much a ratio may be below and above 1
clipped_N      where the gradient is cut off, for the log
"""


@dataclass(frozen=True, slots=True)
class PolicyLoss:
    """A surrogate, and what it is averaged over.

    per  ``token``: the mean over all tokens. ``sequence``: the mean over completions of the means over their tokens.
         ``constant``: the sum over completions, divided by their number times the longest that they may be
    """

    surrogate: Surrogate
    per: Literal["token", "sequence", "constant"]


def clipped(new_N, old_N, advantages_N, row_N, *, low: float, high: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Equation 7 of arXiv:1707.06347, for each token, with two bounds (equation 8 of arXiv:2503.14476)."""
    return _pessimistic(torch.exp(new_N - old_N), advantages_N, low, high)


def clipped_sequence_mean(new_N, old_N, advantages_N, row_N, *, low: float, high: float):
    """Equations 5 and 7 of arXiv:2507.18071 (GSPO): one ratio for a completion, the geometric mean of its tokens'."""
    log_ratio_B = _row_sums(new_N - old_N, row_N) / _row_sums(torch.ones_like(new_N), row_N).clamp(min=1)
    return _pessimistic(torch.exp(log_ratio_B)[row_N], advantages_N, low, high)


def clipped_sequence(new_N, old_N, advantages_N, row_N, *, low: float, high: float):
    """The completion as one action, as in arXiv:2402.14740: the ratio of its probabilities."""
    return _pessimistic(torch.exp(_row_sums(new_N - old_N, row_N))[row_N], advantages_N, low, high)


def clipped_weight(new_N, old_N, advantages_N, row_N, *, low: float, high: float):
    """Equations 4 and 5 of arXiv:2506.13585 (CISPO): the ratio is a bounded weight, and every token keeps a gradient.

    As in the paper, the ratio has no lower bound.
    """
    ratio_N = torch.exp(new_N - old_N).detach()
    loss_N = -ratio_N.clamp(max=1 + high) * advantages_N * new_N
    return loss_N, (ratio_N > 1 + high) & (advantages_N > 0)


def k3(new_N: torch.Tensor, reference_N: torch.Tensor) -> torch.Tensor:
    """The divergence of the policy from its reference at each token, estimated: equation 4 of arXiv:2402.03300."""
    log_ratio_N = reference_N - new_N
    return torch.exp(log_ratio_N) - log_ratio_N - 1


def weights_of(per: str, row_N: torch.Tensor, *, longest: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """What each token's loss is multiplied with before it is summed up. ``longest``: tokens a completion may have."""
    ones_N = torch.ones_like(row_N, dtype=dtype)
    if per == "token":
        return ones_N
    return ones_N / longest if per == "constant" else ones_N / _row_sums(ones_N, row_N)[row_N]


def _pessimistic(ratio_N: torch.Tensor, advantages_N: torch.Tensor, low: float, high: float):
    loss_N = -torch.minimum(ratio_N * advantages_N, ratio_N.clamp(1 - low, 1 + high) * advantages_N)
    below_N, above_N = (ratio_N < 1 - low) & (advantages_N < 0), (ratio_N > 1 + high) & (advantages_N > 0)
    return loss_N, below_N | above_N


def _row_sums(values_N: torch.Tensor, row_N: torch.Tensor) -> torch.Tensor:
    rows = int(row_N.max()) + 1 if len(row_N) else 0
    return values_N.new_zeros(rows).index_add(0, row_N, values_N)


LOSSES = {
    "grpo": PolicyLoss(clipped, per="sequence"),  # equation 3 of arXiv:2402.03300
    "dr_grpo": PolicyLoss(clipped, per="constant"),  # section 3.2 of arXiv:2503.20783
    "dapo": PolicyLoss(clipped, per="token"),  # equation 8 of arXiv:2503.14476
    "bnpo": PolicyLoss(clipped, per="token"),  # the mean over a batch's tokens: dapo's, where no batch is cut
    "gspo": PolicyLoss(clipped_sequence_mean, per="sequence"),
    "cispo": PolicyLoss(clipped_weight, per="token"),
    "rloo": PolicyLoss(clipped_sequence, per="sequence"),
}


class Provider:
    """One of ``LOSSES`` for a plan."""

    def __init__(self, name: str) -> None:
        self.name = name

    @hookimpl
    def ftk_policy_losses(self) -> dict[str, PolicyLoss]:
        return {self.name: LOSSES[self.name]}
