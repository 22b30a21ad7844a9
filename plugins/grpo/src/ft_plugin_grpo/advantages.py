"""From rewards to advantages by comparison within a group. Shape suffixes: P prompts, G completions of each."""

from __future__ import annotations

from functools import partial

import torch

from ftk.markers import hookimpl
from ftk.run import Run

from .config import GrpoConfig
from .specs import Advantage

EPSILON = 1e-4
"""Added to deviations, as in the implementations that published results stand on: equal rewards give 0, not 0/0."""


class Provider:
    @hookimpl
    def ftk_advantages(self, run: Run) -> dict[str, Advantage]:
        return {"group": partial(group, scale=run.config[GrpoConfig].grpo_scale_rewards)}


def group(rewards_PG: torch.Tensor, *, scale: str = "group") -> torch.Tensor:
    """Section 4.1.2 of arXiv:2402.03300: rewards less their group's mean, divided by a deviation.

    scale  ``group``: of the group, as in the paper. ``batch``: of all rewards (arXiv:2508.08221). ``none``: not
           divided (arXiv:2503.20783)
    """
    centred_PG = rewards_PG - rewards_PG.nanmean(-1, keepdim=True)
    if scale == "none":
        return centred_PG
    if scale == "batch":
        return centred_PG / (deviation(rewards_PG.flatten()) + EPSILON)
    return centred_PG / (deviation(rewards_PG)[:, None] + EPSILON)


def deviation(values_XG: torch.Tensor) -> torch.Tensor:
    """The sample's standard deviation over the last dimension, without NaN; 0 where fewer than two numbers are left."""
    count_X = (~values_XG.isnan()).sum(-1)
    squares_X = (values_XG - values_XG.nanmean(-1, keepdim=True)).square().nansum(-1)
    return (squares_X / (count_X - 1).clamp(min=1)).sqrt()
