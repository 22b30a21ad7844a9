"""Reward modelling: a value head on the last token learns which of two answers is better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ft_plugin_data.config import DataConfig
from ft_plugin_data.truncation import Fitting
from ft_plugin_preference.pairs import in_two_rows, length_of
from ft_plugin_trainer.objective import Objective, Sums
from ft_plugin_trainer.trainer import FtkTrainer
from ftk.contracts import Template
from ftk.markers import hookimpl

from .config import RmConfig
from .encoding import MARGIN, RmEncoder
from .loss import bradley_terry_loss
from .value_head import NAME, ValueHead, draw, head_for, last_values, load_into, starting_file

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
        center = run.config[RmConfig].rm_center_coefficient
        return FtkTrainer(run, parts, BetterIsHigher(head, center=center))


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

    def __init__(self, head: ValueHead, *, center: float = 0.0) -> None:
        self.head, self.center = head, center

    def modules(self) -> dict[str, nn.Module]:
        return {NAME: self.head}

    def count(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return torch.tensor(len(batch["input_ids"]), device=batch["input_ids"].device)

    def length(self, row: Mapping[str, Any]) -> int:
        return length_of(row)

    def sums(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> Sums:
        rows = in_two_rows(batch)
        inputs = {name: rows[name] for name in ("input_ids", "attention_mask")}
        chosen_B, rejected_B = last_values(model, self.head, inputs).view(-1, 2).unbind(1)
        loss_B = bradley_terry_loss(chosen_B, rejected_B, batch.get(MARGIN), center=self.center)
        sums = {
            "loss": loss_B.sum(),
            "accuracy": (chosen_B > rejected_B).sum(),
            "chosen_score": chosen_B.sum(),
            "rejected_score": rejected_B.sum(),
        }
        count = self.count(batch)
        return {name: (part, count) for name, part in sums.items()}
