"""Reward modelling: a value head on the last token learns which of two answers is better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from ft_plugin_data.config import DataConfig
from ft_plugin_data.truncation import Fitting
from ft_plugin_preference.config import PreferenceConfig
from ft_plugin_preference.pairs import CHOSEN, REJECTED, length_of
from ft_plugin_preference.scoring import PairScorer
from ft_plugin_trainer.objective import Objective, Sums
from ft_plugin_trainer.trainer import FtkTrainer
from ftk.contracts import Template
from ftk.markers import hookimpl

from .config import RmConfig
from .encoding import MARGIN, RmEncoder
from .loss import bradley_terry_loss
from .value_head import NAME, ValueHead, draw, head_for, last_true, load_into, starting_file, values_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ftk.contracts import Parts
    from ftk.run import Run


class Rm:
    @hookimpl
    def ftk_encoder(self, run: Run, tokenizer: PreTrainedTokenizerBase, template: Template) -> RmEncoder:
        fitting, config = Fitting.configured(run.config[DataConfig], template), run.config[RmConfig]
        return RmEncoder(tokenizer, fitting, answers=config.rm_answers_column, margin=config.rm_margin_column)

    @hookimpl
    def ftk_build_trainer(self, run: Run, parts: Parts) -> FtkTrainer:
        head = starting_head(run, parts.model)
        # The same for both answers of a pair, so that it could learn nothing but an offset, and without it the model
        # is a sequence classifier of transformers.
        head.linear.bias.requires_grad_(False)
        center, share = run.config[RmConfig].rm_center_coefficient, run.config[PreferenceConfig].pref_shared_prompt
        return FtkTrainer(run, parts, BetterIsHigher(head, center=center, share=share))


def starting_head(run: Run, model: PreTrainedModel) -> ValueHead:
    """The value head beside the adapter or the model that training starts from, or else a random one."""
    head, path = head_for(model), starting_file(run)
    if path is None:
        draw(head, run.seed)
    else:
        load_into(head, path)
        run.logger.info("value head: %s", path)
    return head


class BetterIsHigher(Objective):
    """The Bradley-Terry loss of pairs: batches of ``PairEncoder``, perhaps with ``margin`` (B)."""

    def __init__(self, head: ValueHead, *, center: float = 0.0, share: bool | Literal["auto"] = "auto") -> None:
        """``share``: whether the prompt is computed once for both answers, as in ``PairScorer``."""
        self.head, self.center, self.pairs = head, center, PairScorer(share=share)

    def modules(self) -> dict[str, nn.Module]:
        return {NAME: self.head}

    def count(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return torch.tensor(len(batch["input_ids"]), device=batch["input_ids"].device)

    def length(self, row: Mapping[str, Any]) -> int:
        return length_of(row)

    def sums(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> Sums:
        chosen_B, rejected_B = self._scores(model, batch)
        loss_B = bradley_terry_loss(chosen_B, rejected_B, batch.get(MARGIN), center=self.center)
        sums = {
            "loss": loss_B.sum(),
            "accuracy": (chosen_B > rejected_B).sum(),
            "chosen_score": chosen_B.sum(),
            "rejected_score": rejected_B.sum(),
        }
        count = self.count(batch)
        return {name: (part, count) for name, part in sums.items()}

    def _scores(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Of chosen and rejected, B each; the prompt is computed once where that works and is less work."""
        ends_BT = torch.zeros_like(batch["segments"], dtype=torch.bool)
        for part in (CHOSEN, REJECTED):
            ends_BT.scatter_(1, last_true(batch["segments"] == part)[:, None], True)
        inputs = self.pairs.inputs(model, batch, {"input_ids": batch["input_ids"], "ends": ends_BT})
        row_2B, position_2B = inputs.pop("ends").nonzero(as_tuple=True)
        chosen_B, rejected_B = values_of(model, self.head, inputs, row_2B, position_2B).view(-1, 2).unbind(1)
        return chosen_B, rejected_B
