"""Focal loss (arXiv:1708.02002, equation 4)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch

from ftk.markers import hookimpl

from .config import SkeletonNameConfig

if TYPE_CHECKING:
    from ftk.run import Run


class SkeletonName:
    @hookimpl
    def ftk_loss(self, run: Run) -> Callable[[torch.Tensor], torch.Tensor]:
        return partial(focal_loss, gamma=run.config[SkeletonNameConfig].skeleton_name_gamma)


def focal_loss(logprobs_N: torch.Tensor, *, gamma: float) -> torch.Tensor:
    """Losses of N target tokens from their log-probabilities, as ``stage: sft`` wants them; both have shape (N,)."""
    return -((1 - logprobs_N.exp()) ** gamma) * logprobs_N
