"""Losses of single answers. B answers; log-ratios are those of policy and reference, summed over an answer's tokens."""

import torch


def kto_loss(
    logratios_B: torch.Tensor, desirable_B: torch.Tensor, *, beta: float, kl: torch.Tensor | float
) -> torch.Tensor:
    """Equation 7 of arXiv:2402.01306 without its weights: ``1 - sigmoid(beta (r - z))``, or of ``z - r``.

    kl  the paper's z: how far policy and reference are apart on answers to other prompts, at least 0
    """
    sign_B = torch.where(desirable_B, 1.0, -1.0).to(logratios_B.dtype)
    return torch.sigmoid(-sign_B * beta * (logratios_B - kl))


def apo_zero_unpaired_loss(
    logratios_B: torch.Tensor, desirable_B: torch.Tensor, *, beta: float, kl: torch.Tensor | float = 0.0
) -> torch.Tensor:
    """APO-zero (equation 7 of arXiv:2408.06266) of single answers: ``kto_loss`` with z = 0, whatever ``kl`` is."""
    return kto_loss(logratios_B, desirable_B, beta=beta, kl=0.0)


LOSSES = {"kto": kto_loss, "apo_zero_unpaired": apo_zero_unpaired_loss}
