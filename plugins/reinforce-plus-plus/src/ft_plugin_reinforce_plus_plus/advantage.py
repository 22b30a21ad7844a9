"""Advantages normalised over the whole batch. Shape suffixes: P prompts, G completions of each."""

from __future__ import annotations

import torch

from ft_plugin_grpo.advantages import EPSILON, deviation
from ft_plugin_grpo.specs import Advantage
from ftk.markers import hookimpl


class Provider:
    @hookimpl
    def ftk_advantages(self) -> dict[str, Advantage]:
        return {"reinforce_plus_plus": normalised}


def normalised(rewards_PG: torch.Tensor) -> torch.Tensor:
    """The variant with a baseline of arXiv:2501.03262: rewards less their group's mean, then of mean 0 and deviation 1.

    The mean of the batch is 0 already, unless rewards are missing; NaN stays NaN.
    """
    centred_PG = rewards_PG - rewards_PG.nanmean(-1, keepdim=True)
    return (centred_PG - centred_PG.nanmean()) / (deviation(centred_PG.flatten()) + EPSILON)
