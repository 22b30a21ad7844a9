"""Anchored supervised fine-tuning (arXiv:2509.23753)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from ft_plugin_dft.loss import dft_loss
from ft_plugin_reference_model.reference import reference_for
from ft_plugin_trainer.predictions import Prediction, PredictionLoss, kl_divergence
from ftk.markers import hookimpl

from .config import AsftConfig

if TYPE_CHECKING:
    from ftk.run import Run


class Asft:
    @hookimpl
    def ftk_loss(self, run: Run) -> PredictionLoss:
        loss = partial(asft_loss, alpha=run.config[AsftConfig].asft_alpha)
        return PredictionLoss(loss, reference=partial(reference_for, run))


def asft_loss(at: Prediction, *, alpha: float) -> torch.Tensor:
    """DFT's loss and ``alpha * KL(reference || policy)`` over the whole vocabulary, in nats, for each target."""
    anchor_N = kl_divergence(at.reference_logprobs_NV, at.logprobs_NV)
    return dft_loss(at.target_logprobs_N, at.cross_entropy_N) + alpha * anchor_N
