"""Entropy-adaptive fine-tuning (arXiv:2601.02151)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ft_plugin_trainer.predictions import PredictionLoss, entropy
from ftk.markers import hookimpl

from .config import EaftConfig

if TYPE_CHECKING:
    from ftk.run import Run

TOP = 20
"""Tokens whose entropy stands for that of all."""
SCALE = 3.0
"""About log(20), the entropy of 20 tokens that are equally likely: weights are between 0 and 1."""


class Eaft:
    @hookimpl
    def ftk_loss(self, run: Run) -> PredictionLoss:
        alpha = run.config[EaftConfig].eaft_alpha
        return PredictionLoss(lambda at: eaft_loss(at.logits_NV, at.cross_entropy_N, alpha=alpha))


def eaft_loss(logits_NV: torch.Tensor, cross_entropy_N: torch.Tensor, *, alpha: float) -> torch.Tensor:
    """``sg(H / 3)^alpha`` times the cross-entropy, H the entropy of the 20 most likely tokens among themselves.

    sg lets no gradient through. N target tokens, V tokens of the vocabulary.
    """
    weight_N = (entropy(logits_NV.detach(), top=TOP) / SCALE) ** alpha
    return weight_N * cross_entropy_N
