"""Dynamic fine-tuning (arXiv:2508.05629)."""

import torch

from ft_plugin_trainer.predictions import PredictionLoss
from ftk.markers import hookimpl


class Dft:
    @hookimpl
    def ftk_loss(self) -> PredictionLoss:
        return PredictionLoss(lambda at: dft_loss(at.target_logprobs_N, at.cross_entropy_N))


def dft_loss(logprobs_N: torch.Tensor, cross_entropy_N: torch.Tensor) -> torch.Tensor:
    """The loss of a token in arXiv:2508.05629: ``-sg(p) log p``, where sg lets no gradient through.

    logprobs_N       of N target tokens
    cross_entropy_N  of the same, which is minus that without label smoothing
    """
    return logprobs_N.detach().exp() * cross_entropy_N
