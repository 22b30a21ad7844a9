"""The learning rate of each step."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.optim.lr_scheduler import LambdaLR

from ftk.markers import hookimpl

from .config import SkeletonNameConfig

if TYPE_CHECKING:
    from ftk.run import Run


class SkeletonName:
    @hookimpl
    def ftk_build_scheduler(self, run: Run, optimizer: torch.optim.Optimizer, steps: int) -> LambdaLR:
        floor = run.config[SkeletonNameConfig].skeleton_name_floor or 0.0
        return LambdaLR(optimizer, partial(share, steps=steps, floor=floor))


def share(step: int, *, steps: int, floor: float) -> float:
    """What is left of the learning rate: 1 at the first step, ``floor`` at the last, a straight line between."""
    last = max(steps - 1, 1)
    return 1 - (1 - floor) * min(step / last, 1)
