"""BCO (arXiv:2404.04656): a classifier of single answers whose logit is the policy's reward."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from ft_plugin_data.config import DataConfig
from ft_plugin_data.truncation import Fitting
from ft_plugin_kto.answers import REFERENCE, AnswerEncoder
from ft_plugin_kto.balance import tell_one_sided
from ft_plugin_kto.objective import AnswerObjective, AnswerScores, answer_scores, answer_trainer
from ft_plugin_preference.config import PreferenceConfig
from ft_plugin_trainer.processes import summed_over_processes
from ft_plugin_trainer.trainer import FtkTrainer
from ftk.contracts import Template
from ftk.markers import hookimpl

from .loss import bco_loss, reward_shift

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ft_plugin_trainer.objective import Batch, Sums
    from ftk.contracts import Parts
    from ftk.run import Run


NUMBER = "bco_number"
"""In a batch: which one of its step it is."""


class Bco:
    @hookimpl
    def ftk_encoder(self, run: Run, tokenizer: PreTrainedTokenizerBase, template: Template) -> AnswerEncoder:
        return AnswerEncoder(tokenizer, Fitting.configured(run.config[DataConfig], template))

    @hookimpl
    def ftk_build_trainer(self, run: Run, parts: Parts) -> FtkTrainer:
        if parts.train_dataset is not None:
            tell_one_sided(run, parts.train_dataset)
        config = run.config[PreferenceConfig]
        objective = BcoObjective(answer_scores(run, parts.model), beta=config.pref_beta, ftx=config.pref_ftx)
        return answer_trainer(run, parts, objective, columns=REFERENCE[:1])


class BcoObjective(AnswerObjective):
    """The mean over all answers of the global batch, with the reward shift of all steps before it.

    So the shift is the same for every answer of a step, whatever way its batch is cut, and costs no pass of its own.
    Evaluations use the shift as it is.
    """

    def __init__(self, scores: AnswerScores, *, beta: float, ftx: float = 0.0) -> None:
        super().__init__(scores, beta=beta, ftx=ftx)
        # Of good and of bad answers: sums of rewards, and counts.
        self.seen_22 = torch.zeros(2, 2, dtype=torch.float64)
        """Of all processes, up to the last step."""
        self.new_22 = torch.zeros(2, 2, dtype=torch.float64)
        """Of this process, since then."""
        self.to_see: set[int] = set()

    @property
    def delta(self) -> torch.Tensor:
        return reward_shift(*self.seen_22)

    def begin_step(self, model: nn.Module, batches: list[Batch]) -> list[Batch]:
        batches = super().begin_step(model, batches)
        if model.training:
            self.seen_22 += summed_over_processes(self.new_22.to(batches[0]["labels"].device)).cpu()
            self.new_22 = torch.zeros_like(self.seen_22)
            # The trainer may have to take a batch twice, of which the second time counts nothing.
            self.to_see = set(range(len(batches)))
            for number, batch in enumerate(batches):
                batch[NUMBER] = torch.full_like(batch["labels"][:, 0], number)
        return batches

    def losses(self, logratios_B: torch.Tensor, desirable_B: torch.Tensor) -> torch.Tensor:
        return bco_loss(self.beta * logratios_B, desirable_B, delta=self.delta.to(logratios_B))

    def sums(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> Sums:
        sums = super().sums(model, batch)
        if model.training and self.counts and (number := int(batch[NUMBER][0])) in self.to_see:
            self.to_see.remove(number)
            sides = [sums["rewards/chosen"], sums["rewards/rejected"]]
            self.new_22 += torch.stack([torch.stack([r.detach().double(), n.double()]) for r, n in sides], 1).cpu()
        sums["delta"] = (self.delta * self.count(batch).cpu(), self.count(batch))
        return sums

    def state(self) -> dict[str, torch.Tensor]:
        return {"seen": self.seen_22, "new": self.new_22}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        self.seen_22, self.new_22 = state["seen"], state["new"]
