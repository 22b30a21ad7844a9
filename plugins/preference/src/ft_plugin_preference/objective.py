"""What stages that learn from pairs minimise: the mean over the pairs of a global batch.

Shape suffix: B pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F

from ft_plugin_reference_model.reference import Reference
from ft_plugin_trainer.objective import Batch, Objective, Sums, router_coefficient
from ft_plugin_trainer.processes import from_all_processes, rank_of_all

from .losses import Pairs, PreferenceLoss
from .pairs import REFERENCE, length_of
from .scoring import PairScorer

TANGENT = "tangent"
"""Column (B, 4): a pair's loss as the whole global batch makes it, and its derivatives by the three of ``LEAVES``."""
LEAVES = ("chosen_B", "rejected_B", "chosen_mean_B")


class PairObjective(Objective):
    """A weighted sum of preference losses.

    A loss may couple pairs (``PreferenceLoss.whole_batch``). To give the same result however a global batch is cut, it
    is computed in ``begin_step`` from the log-probabilities of all its pairs on all processes, which costs another
    forward pass without gradient; what is then minimised, pair by pair, has its value and its gradient. So ``sums`` is
    always a sum over rows. A global batch of one micro-batch on one process needs no such pass.
    """

    def __init__(
        self,
        losses: Mapping[str, tuple[float, PreferenceLoss]],
        *,
        beta: float,
        reference: Reference | None = None,
        ftx: float = 0.0,
        bco: float = 0.0,
        ld_alpha: float | None = None,
        share: bool | Literal["auto"] = "auto",
    ) -> None:
        """``losses``: name -> weight and loss. ``reference``: may be None where all rows have the columns of one."""
        self.losses, self.beta, self.reference, self.ftx, self.bco = losses, beta, reference, ftx, bco
        self.score = PairScorer(share=share, ld_alpha=ld_alpha)
        self.compares = bool(bco) or any(loss.reference for _, loss in losses.values())
        self.coupled = self.whole = bool(bco) or any(loss.whole_batch for _, loss in losses.values())
        self.per_token = all(loss.per_token for _, loss in losses.values())

    def count(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return torch.tensor(len(batch["input_ids"]), device=batch["input_ids"].device)

    def length(self, row: Mapping[str, Any]) -> int:
        return length_of(row)

    def begin_step(self, model: nn.Module, batches: list[Batch]) -> list[Batch]:
        if not self.coupled or (len(batches) == 1 and rank_of_all()[1] == 1):
            return batches
        device = next(model.parameters()).device
        batches = [{name: value.to(device) for name, value in batch.items()} for batch in batches]
        with torch.no_grad():
            parts = [self._pairs(model, batch)[0] for batch in batches]
        tangents = self._tangents(parts).split([len(part.chosen_B) for part in parts])
        known = [self._known(part) for part in parts]
        return [
            batch | {TANGENT: tangent} | more for batch, tangent, more in zip(batches, tangents, known, strict=True)
        ]

    def sums(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> Sums:
        pairs, outputs = self._pairs(model, batch)
        n = self.count(batch)
        if TANGENT in batch:
            loss_B = along(batch[TANGENT].unbind(1), [getattr(pairs, name) for name in LEAVES])
        else:
            loss_B = self.loss(pairs)
        loss = loss_B.sum()
        if model.training and (aux_loss := getattr(outputs, "aux_loss", None)) is not None:
            loss = loss + router_coefficient(model) * aux_loss * n
        logged = {name: (value_B.sum(), n) for name, value_B in self.metrics(pairs).items()}
        return {"loss": (loss, n), **logged}

    def loss(self, pairs: Pairs) -> torch.Tensor:
        """Of each pair, shape B."""
        loss_B = sum(weight * loss.function(pairs) for weight, loss in self.losses.values())
        if self.bco:
            loss_B = (loss_B + self.bco * bco_loss(pairs, beta=self.beta)) / (1 + self.bco)
        return loss_B - self.ftx * pairs.chosen_mean_B if self.ftx else loss_B

    @torch.no_grad()
    def metrics(self, pairs: Pairs) -> dict[str, torch.Tensor]:
        """What is logged, each of shape B. Rewards are implicit ones: beta times the log ratio to the reference."""
        chosen_B, rejected_B = pairs.chosen_B, pairs.rejected_B
        if self.compares:
            chosen_B, rejected_B = pairs.chosen_ratio_B, pairs.rejected_ratio_B
        elif self.per_token:
            chosen_B, rejected_B = chosen_B / pairs.chosen_tokens_B, rejected_B / pairs.rejected_tokens_B
        made = {
            "rewards/chosen": self.beta * chosen_B,
            "rewards/rejected": self.beta * rejected_B,
            "rewards/accuracies": (chosen_B > rejected_B).to(chosen_B.dtype),
            "rewards/margins": self.beta * (chosen_B - rejected_B),
            "logps/chosen": pairs.chosen_B,
            "logps/rejected": pairs.rejected_B,
        }
        return made | ({"sft_loss": -pairs.chosen_mean_B} if self.ftx else {})

    def _pairs(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> tuple[Pairs, Any]:
        """With the reference's log-probabilities where a loss wants them, and what the model returned."""
        if not self.compares:
            return self.score(model, batch)
        known_2B = [batch[name] for name in REFERENCE] if REFERENCE[0] in batch else self.reference_logps(model, batch)
        pairs, outputs = self.score(model, batch)
        ref_chosen_B, ref_rejected_B = (logps_B.to(pairs.chosen_B.dtype) for logps_B in known_2B)
        return replace(pairs, ref_chosen_B=ref_chosen_B, ref_rejected_B=ref_rejected_B), outputs

    def reference_logps(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        """Those of chosen and of rejected answers, each of shape B."""
        assert self.reference is not None
        with self.reference.active(model) as module:
            theirs, _ = self.score(module, batch)
        return [theirs.chosen_B, theirs.rejected_B]

    def _known(self, pairs: Pairs) -> dict[str, torch.Tensor]:
        """What need not be computed again, as columns."""
        return dict(zip(REFERENCE, (pairs.ref_chosen_B, pairs.ref_rejected_B), strict=True)) if self.compares else {}

    def _tangents(self, parts: list[Pairs]) -> torch.Tensor:
        """Values and derivatives of this process's pairs in the losses of all processes' pairs, of shape (B, 4)."""
        mine = {name: torch.cat([getattr(part, name) for part in parts]) for name in _fields(parts[0])}
        counted = len(mine["chosen_B"]) if self.counts else 0  # rows that another process has too count there
        whole, start = _gathered({name: value[:counted] for name, value in mine.items()})
        leaves = {name: whole[name].detach().requires_grad_() for name in LEAVES}
        with torch.enable_grad():
            loss_B = self.loss(Pairs(**{**whole, **leaves}))
            grads = torch.autograd.grad(loss_B.sum(), list(leaves.values()), allow_unused=True, materialize_grads=True)
        tangent_B4 = torch.stack([loss_B.detach(), *grads], 1)[start : start + counted]
        return tangent_B4 if self.counts else tangent_B4.new_zeros(len(mine["chosen_B"]), 4)


def along(tangent: tuple[torch.Tensor, ...], values: list[torch.Tensor]) -> torch.Tensor:
    """Losses of pairs whose value is ``tangent[0]`` and whose derivatives by ``values`` are the rest of it."""
    value_B, *slopes = tangent
    for slope_B, x_B in zip(slopes, values, strict=True):
        value_B = value_B + slope_B * (x_B - x_B.detach())
    return value_B


def bco_loss(pairs: Pairs, *, beta: float) -> torch.Tensor:
    """Binary classifier optimisation (arXiv:2404.04656) on pairs: rewards on the right side of their mean.

    The mean is that of all pairs given, and held constant in the backward pass.
    """
    chosen_B, rejected_B = beta * pairs.chosen_ratio_B, beta * pairs.rejected_ratio_B
    threshold = torch.cat([chosen_B, rejected_B]).mean().detach()
    return -F.logsigmoid(chosen_B - threshold) - F.logsigmoid(threshold - rejected_B)


def _fields(pairs: Pairs) -> list[str]:
    return [name for name in Pairs.__dataclass_fields__ if getattr(pairs, name) is not None]


def _gathered(mine: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], int]:
    """The tensors of all processes end to end, and where this process's begin."""
    if rank_of_all()[1] == 1:
        return mine, 0
    device = mine["chosen_B"].device
    before, everyone = from_all_processes([{name: value.cpu() for name, value in mine.items()}])
    whole = {name: torch.cat([one[name] for one in everyone]).to(device) for name in mine}
    return whole, sum(len(one["chosen_B"]) for one in everyone[:before])
