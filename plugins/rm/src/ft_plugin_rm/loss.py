"""The loss of reward models. Shape suffix: B pairs."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def bradley_terry_loss(
    chosen_B: torch.Tensor, rejected_B: torch.Tensor, margin_B: torch.Tensor | None = None, *, center: float = 0.0
) -> torch.Tensor:
    """Losses of B pairs from the scores of their answers.

    ``-log sigmoid(chosen - rejected)``, equation 1 of arXiv:2203.02155; less ``margin_B`` inside the sigmoid, equation
    2 of arXiv:2307.09288; and ``center (chosen + rejected)^2``, equation 2 of arXiv:2312.09244.
    """
    gap_B = chosen_B - rejected_B
    loss_B = -F.logsigmoid(gap_B if margin_B is None else gap_B - margin_B)
    return loss_B + center * (chosen_B + rejected_B).square() if center else loss_B
