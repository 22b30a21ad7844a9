"""ORPO: supervised fine-tuning that also makes the odds of the chosen answer larger than those of the rejected one.

Shape suffix: B pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from ft_plugin_preference.config import PreferenceConfig
from ft_plugin_preference.losses import Pairs, PreferenceLoss
from ft_plugin_preference.stage import PairStage
from ftk.markers import hookimpl

if TYPE_CHECKING:
    from ftk.run import Run


class Orpo(PairStage):
    def losses(self, run: Run) -> Mapping[str, tuple[float, PreferenceLoss]]:
        return {"orpo": (1.0, configured(run))}


class OrpoLoss:
    """The same for ``stage: dpo`` with ``pref_loss: orpo``."""

    @hookimpl
    def ftk_preference_losses(self, run: Run) -> Mapping[str, PreferenceLoss]:
        return {"orpo": configured(run)}


def configured(run: Run) -> PreferenceLoss:
    function = partial(orpo_loss, beta=run.config[PreferenceConfig].pref_beta)
    return PreferenceLoss(function, reference=False, per_token=True)


def orpo_loss(pairs: Pairs, *, beta: float) -> torch.Tensor:
    """Equation 6 of arXiv:2403.07691 with lambda = beta; the likelihood of an answer is the mean one of its tokens."""
    chosen_B = pairs.chosen_B / pairs.chosen_tokens_B
    rejected_B = pairs.rejected_B / pairs.rejected_tokens_B
    return -pairs.chosen_mean_B - beta * F.logsigmoid(log_odds(chosen_B) - log_odds(rejected_B))


def log_odds(logp_B: torch.Tensor) -> torch.Tensor:
    """``log p / (1 - p)``, equation 4, exact for p near 0 and near 1. A p of 1 is taken for the number below it."""
    logp_B = logp_B.clamp(max=-torch.finfo(logp_B.dtype).eps)
    complement_B = torch.where(logp_B > -0.5, (-torch.expm1(logp_B)).log(), torch.log1p(-logp_B.exp()))
    return logp_B - complement_B
