"""The losses of direct preference optimisation, as pure functions of log-probabilities of pairs.

Shape suffix: B pairs. ``beta`` is that of arXiv:2305.18290; ``eps`` the probability that a pair is the wrong way round.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from ft_plugin_preference.losses import Pairs


def sigmoid(pairs: Pairs, *, beta: float, eps: float = 0.0) -> torch.Tensor:
    """DPO, equation 7 of arXiv:2305.18290. With ``eps``, the conservative DPO (cDPO) of a note by its authors."""
    return _smoothed(beta * pairs.margin_B, eps)


def robust(pairs: Pairs, *, beta: float, eps: float) -> torch.Tensor:
    """Robust DPO (arXiv:2403.00409): unbiased for labels that are flipped with probability ``eps``."""
    logits_B = beta * pairs.margin_B
    return (-(1 - eps) * F.logsigmoid(logits_B) + eps * F.logsigmoid(-logits_B)) / (1 - 2 * eps)


def hinge(pairs: Pairs, *, beta: float) -> torch.Tensor:
    """SLiC's hinge loss (arXiv:2305.10425) on DPO's rewards, as RSO has it (arXiv:2309.06657)."""
    return torch.relu(1 - beta * pairs.margin_B)


def ipo(pairs: Pairs, *, beta: float) -> torch.Tensor:
    """Equation 17 of arXiv:2310.12036 with tau = beta, on means over tokens, as its authors computed it."""
    return (_mean_margin(pairs) - 1 / (2 * beta)) ** 2


def sigmoid_norm(pairs: Pairs, *, beta: float) -> torch.Tensor:
    """DPO on means over tokens: length-normalised DPO, as in Tulu 3 (arXiv:2411.15124)."""
    return -F.logsigmoid(beta * _mean_margin(pairs))


def exo_pair(pairs: Pairs, *, beta: float, eps: float) -> torch.Tensor:
    """EXO for pairs, equation 16 of arXiv:2402.00856: the reverse KL divergence to ``(1 - eps, eps)``."""
    logits_B = beta * pairs.margin_B
    wins_B, loses_B = F.logsigmoid(logits_B), F.logsigmoid(-logits_B)
    target = torch.tensor([1 - eps, eps], dtype=logits_B.dtype, device=logits_B.device).log()
    return wins_B.exp() * (wins_B - target[0]) + loses_B.exp() * (loses_B - target[1])


def nca_pair(pairs: Pairs, *, beta: float) -> torch.Tensor:
    """NCA for pairs (arXiv:2402.05369), one preferred of two answers."""
    chosen_B, rejected_B = beta * pairs.chosen_ratio_B, beta * pairs.rejected_ratio_B
    return -F.logsigmoid(chosen_B) - 0.5 * F.logsigmoid(-chosen_B) - 0.5 * F.logsigmoid(-rejected_B)


def bco_pair(pairs: Pairs, *, beta: float) -> torch.Tensor:
    """Binary classifier optimisation (arXiv:2404.04656) with its threshold at 0, as TRL has it."""
    return -F.logsigmoid(beta * pairs.chosen_ratio_B) - F.logsigmoid(-beta * pairs.rejected_ratio_B)


def sppo_hard(pairs: Pairs, *, beta: float) -> torch.Tensor:
    """SPPO, equation 4.7 of arXiv:2405.00675 with eta = 1 / beta and hard labels: the chosen answer always wins."""
    half = 0.5 / beta
    return (pairs.chosen_ratio_B - half) ** 2 + (pairs.rejected_ratio_B + half) ** 2


def aot(pairs: Pairs, *, beta: float, eps: float = 0.0) -> torch.Tensor:
    """AOT for pairs (arXiv:2406.05882): the policy's margins dominate the reference's, each sorted, in distribution."""
    margin_B, order = (pairs.chosen_B - pairs.rejected_B).sort(stable=True)
    ref_margin_B = (_given(pairs.ref_chosen_B) - _given(pairs.ref_rejected_B)).sort(stable=True).values
    return _in_order(_smoothed(beta * (margin_B - ref_margin_B), eps), order)


def aot_unpaired(pairs: Pairs, *, beta: float, eps: float = 0.0) -> torch.Tensor:
    """AOT for unpaired data (arXiv:2406.05882): log ratios of chosen answers dominate those of rejected ones."""
    chosen_B, order = pairs.chosen_ratio_B.sort(stable=True)
    return _in_order(_smoothed(beta * (chosen_B - pairs.rejected_ratio_B.sort(stable=True).values), eps), order)


def apo_zero(pairs: Pairs, *, beta: float) -> torch.Tensor:
    """APO-zero, equation 7 of arXiv:2408.06266: chosen answers up, rejected ones down."""
    return 1 - torch.sigmoid(beta * pairs.chosen_ratio_B) + torch.sigmoid(beta * pairs.rejected_ratio_B)


def apo_down(pairs: Pairs, *, beta: float) -> torch.Tensor:
    """APO-down, equation 8 of arXiv:2408.06266: both down, rejected answers more."""
    return torch.sigmoid(beta * pairs.chosen_ratio_B) + 1 - torch.sigmoid(beta * pairs.margin_B)


def discopop(pairs: Pairs, *, beta: float, tau: float) -> torch.Tensor:
    """DiscoPOP (log-ratio modulated loss), equation 5 of arXiv:2406.08414."""
    logits_B = beta * pairs.margin_B
    exponential_B = torch.sigmoid(logits_B / tau)
    return -F.logsigmoid(logits_B) * (1 - exponential_B) + torch.exp(-logits_B) * exponential_B


def kto_pair(pairs: Pairs, *, beta: float) -> torch.Tensor:
    """KTO's value function (arXiv:2402.01306, equation 8) on pairs, which TRL had up to 0.8.

    The reference point of chosen answers is the mean log ratio of the rejected ones, and the other way round, but at
    least 0, and held constant in the backward pass (section 4.1). A pair's loss is the mean of that of its answers.
    """
    chosen_B, rejected_B = pairs.chosen_ratio_B, pairs.rejected_ratio_B
    of_chosen, of_rejected = (ratio_B.mean().clamp(min=0).detach() for ratio_B in (rejected_B, chosen_B))
    gain_B = 1 - torch.sigmoid(beta * (chosen_B - of_chosen))
    return (gain_B + 1 - torch.sigmoid(beta * (of_rejected - rejected_B))) / 2


def sft(pairs: Pairs) -> torch.Tensor:
    """Minus the mean log-probability of the chosen answer's tokens: MPO's loss of generation (arXiv:2411.10442)."""
    return -pairs.chosen_mean_B


def _smoothed(logits_B: torch.Tensor, eps: float) -> torch.Tensor:
    return -(1 - eps) * F.logsigmoid(logits_B) - eps * F.logsigmoid(-logits_B)


def _mean_margin(pairs: Pairs) -> torch.Tensor:
    return pairs.chosen_ratio_B / pairs.chosen_tokens_B - pairs.rejected_ratio_B / pairs.rejected_tokens_B


def _in_order(sorted_B: torch.Tensor, order_B: torch.Tensor) -> torch.Tensor:
    """Values of sorted pairs, back at their pairs' places."""
    return torch.zeros_like(sorted_B).index_put((order_B,), sorted_B)


def _given(value: torch.Tensor | None) -> torch.Tensor:
    assert value is not None
    return value
