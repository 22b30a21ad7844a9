"""What a preference loss is: a function of the log-probabilities of pairs.

Shape suffix: B pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Log-probabilities of both answers of pairs, each summed over an answer's tokens. With ``ld_alpha``, tokens that
    only the longer answer has count that much."""

    chosen_B: torch.Tensor
    rejected_B: torch.Tensor
    chosen_mean_B: torch.Tensor
    """Of the chosen answer, as a mean over its tokens; ``ld_alpha`` plays no part in it."""
    chosen_tokens_B: torch.Tensor
    rejected_tokens_B: torch.Tensor
    ref_chosen_B: torch.Tensor | None = None
    """Those of the reference, without gradient; ``None`` where no loss of the run wants one."""
    ref_rejected_B: torch.Tensor | None = None

    @property
    def chosen_ratio_B(self) -> torch.Tensor:
        """``log pi(chosen) / pi_ref(chosen)``."""
        return self.chosen_B - _required(self.ref_chosen_B)

    @property
    def rejected_ratio_B(self) -> torch.Tensor:
        return self.rejected_B - _required(self.ref_rejected_B)

    @property
    def margin_B(self) -> torch.Tensor:
        """By how much the log ratio of the chosen answer exceeds that of the rejected one."""
        return self.chosen_ratio_B - self.rejected_ratio_B


@dataclass(frozen=True, slots=True)
class PreferenceLoss:
    """A loss, and what it needs to know."""

    function: Callable[[Pairs], torch.Tensor]
    """Pairs -> their losses, of shape B. Pure."""
    reference: bool = True
    """It reads the reference's log-probabilities."""
    whole_batch: bool = False
    """The loss of one pair depends on others. Then it sees the pairs of a whole global batch at once."""
    per_token: bool = False
    """Without a reference: the reward that is logged is beta times the mean log-probability, not the sum."""


def _required(value: torch.Tensor | None) -> torch.Tensor:
    if value is None:
        raise TypeError("a loss that reads the reference must be a PreferenceLoss with reference=True")
    return value
