"""Log-probabilities of both answers of pairs, with the prompt computed once where the model can.

Shape suffixes: B pairs, T positions of a row, N target tokens of all rows, in row order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from ft_plugin_trainer.forks import Columns, Forks, apart
from ft_plugin_trainer.targets import IGNORE, TargetLogprobs, next_tokens
from ftk.problems import RunError

from .losses import Pairs
from .pairs import CHOSEN, REJECTED, lengths_of


class PairScorer:
    """Scores batches of ``PairCollator`` with any causal model of transformers."""

    def __init__(self, *, share: bool | Literal["auto"] = "auto", ld_alpha: float | None = None) -> None:
        """``share``: whether the prompt is computed once for both answers. ``auto``: where that works and is less work.

        ld_alpha  what tokens beyond the shorter answer's length count: LD-DPO (arXiv:2409.06411), for the
                  policy and for the reference
        """
        self.share, self.ld_alpha = share, ld_alpha
        self.logprobs, self.forks = TargetLogprobs(), Forks()

    def __call__(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> tuple[Pairs, Any]:
        """The pairs without a reference, and what the model returned."""
        inputs = self.inputs(model, batch, {name: batch[name] for name in ("input_ids", "labels")})
        targets_BT = next_tokens(inputs.pop("labels"))
        scores = self.logprobs(model, inputs, targets_BT)
        return self.pairs(scores.logprobs_N, batch), scores.outputs

    def inputs(self, model: nn.Module, batch: Mapping[str, torch.Tensor], columns: Columns) -> dict[str, Any]:
        """What the model is given, and ``columns`` of the batch: positions of answers in their order in either way."""
        if self.shares(model, batch):
            made = self.forks.together(model, columns, lengths_of(batch))
        else:
            made = apart(columns, lengths_of(batch))
        return {**made, "use_cache": False}

    def pairs(self, logprobs_N: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> Pairs:
        """Sums over answers."""
        target_BT = batch["labels"] != IGNORE
        segments_BT = batch["segments"]
        sides = [target_BT & (segments_BT == part) for part in (CHOSEN, REJECTED)]
        tokens = [side_BT.sum(1) for side_BT in sides]
        weight_BT = torch.ones_like(segments_BT, dtype=logprobs_N.dtype)
        if self.ld_alpha is not None:
            common_B1 = torch.minimum(*tokens)[:, None]
            for side_BT in sides:
                weight_BT = torch.where(side_BT & (side_BT.cumsum(1) > common_B1), self.ld_alpha, weight_BT)
        values_BT = torch.zeros_like(weight_BT).masked_scatter(target_BT, logprobs_N)
        chosen_B, rejected_B = ((values_BT * weight_BT * side_BT).sum(1) for side_BT in sides)
        return Pairs(
            chosen_B=chosen_B,
            rejected_B=rejected_B,
            chosen_mean_B=(values_BT * sides[0]).sum(1) / tokens[0],
            chosen_tokens_B=tokens[0],
            rejected_tokens_B=tokens[1],
        )

    def shares(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> bool:
        """Whether the batch is computed with its prompts shared. Raises RunError where that is asked for in vain."""
        if self.share is False:
            return False
        if self.share == "auto":
            return self.forks.worth(model, lengths_of(batch))
        if fault := self.forks.fault(model):
            message = f"pref_shared_prompt: this model cannot share prompts: {fault}"
            raise RunError(message, "set pref_shared_prompt: auto")
        return self.forks.fits(model, lengths_of(batch))
