"""The leave-one-out baseline. Shape suffixes: P prompts, G completions of each."""

from __future__ import annotations

import torch

from ft_plugin_grpo.specs import Advantage
from ftk.markers import hookimpl


class Provider:
    @hookimpl
    def ftk_advantages(self) -> dict[str, Advantage]:
        return {"rloo": leave_one_out}


def leave_one_out(rewards_PG: torch.Tensor) -> torch.Tensor:
    """Each reward less the mean of the others of its prompt: the estimator of arXiv:2402.14740.

    NaN, where there is no reward, is no other; a completion without others gets NaN.
    """
    others_PG = (~rewards_PG.isnan()).sum(-1, keepdim=True) - 1
    return rewards_PG - (rewards_PG.nansum(-1, keepdim=True) - rewards_PG) / others_PG
