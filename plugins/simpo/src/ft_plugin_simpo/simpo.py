"""SimPO: preferences from mean log-probabilities, without a reference.

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

from .config import SimpoConfig

if TYPE_CHECKING:
    from ftk.run import Run


class Simpo(PairStage):
    def losses(self, run: Run) -> Mapping[str, tuple[float, PreferenceLoss]]:
        return {"simpo": (1.0, configured(run))}


class SimpoLoss:
    """The same for ``stage: dpo`` with ``pref_loss: simpo``."""

    @hookimpl
    def ftk_preference_losses(self, run: Run) -> Mapping[str, PreferenceLoss]:
        return {"simpo": configured(run)}


def configured(run: Run) -> PreferenceLoss:
    beta, gamma = run.config[PreferenceConfig].pref_beta, run.config[SimpoConfig].simpo_gamma
    return PreferenceLoss(partial(simpo_loss, beta=beta, gamma=gamma), reference=False, per_token=True)


def simpo_loss(pairs: Pairs, *, beta: float, gamma: float) -> torch.Tensor:
    """Equation 6 of arXiv:2405.14734."""
    chosen_B = pairs.chosen_B / pairs.chosen_tokens_B
    rejected_B = pairs.rejected_B / pairs.rejected_tokens_B
    return -F.logsigmoid(beta * (chosen_B - rejected_B) - gamma)
