"""KTO (arXiv:2402.01306): single answers, each good or bad, compared with what the policy does to other answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ft_plugin_data.config import DataConfig
from ft_plugin_data.truncation import Fitting
from ft_plugin_preference.config import PreferenceConfig
from ft_plugin_trainer.modes import evaluating
from ft_plugin_trainer.processes import summed_over_processes
from ft_plugin_trainer.trainer import FtkTrainer
from ftk.contracts import Template
from ftk.markers import hookimpl

from .answers import ANSWER, OTHER, REFERENCE, AnswerEncoder, joined, with_one
from .balance import tell_imbalance
from .config import KtoConfig
from .loss import LOSSES
from .mismatched import with_other_answers
from .objective import AnswerObjective, AnswerScores, answer_scores, answer_trainer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ft_plugin_trainer.objective import Batch, Sums
    from ftk.contracts import Parts
    from ftk.run import Run


TOGETHER = 4
"""Micro-batches that passes without gradient take at once: these hold activations of one layer, and not of all."""
MOVED = "other_logratios"
"""In a batch: log-ratios of policy and reference of answers to other prompts, before the step."""


class Kto:
    @hookimpl
    def ftk_encoder(self, run: Run, tokenizer: PreTrainedTokenizerBase, template: Template) -> AnswerEncoder:
        return AnswerEncoder(tokenizer, Fitting.configured(run.config[DataConfig], template))

    @hookimpl(wrapper=True)
    def ftk_load_dataset(self, run: Run, split: str) -> Any:
        rows = yield
        config = run.config[KtoConfig]
        if split == "train" and rows is not None:
            tell_imbalance(run, rows, config.kto_chosen_weight, config.kto_rejected_weight)
        if config.kto_loss != "kto" or rows is None:
            return rows
        if isinstance(rows, Mapping):
            return {name: with_other_answers(part, run.seed) for name, part in rows.items()}
        return with_other_answers(rows, run.seed)

    @hookimpl
    def ftk_build_trainer(self, run: Run, parts: Parts) -> FtkTrainer:
        """``ftk_loss`` may give a loss of ``logratios_B`` and ``desirable_B``, with ``beta`` and ``kl``: losses (B)."""
        config, preference = run.config[KtoConfig], run.config[PreferenceConfig]
        objective = KtoObjective(
            answer_scores(run, parts.model),
            loss=partial(run.loss() or LOSSES[config.kto_loss], beta=preference.pref_beta),
            beta=preference.pref_beta,
            ftx=preference.pref_ftx,
            weights=(config.kto_chosen_weight, config.kto_rejected_weight),
        )
        columns = REFERENCE if config.kto_loss == "kto" else REFERENCE[:1]
        trainer = answer_trainer(run, parts, objective, columns=columns)
        objective.one_pass = not computes_in_16_bits(trainer)
        return trainer


class KtoObjective(AnswerObjective):
    """The mean over all answers of the global batch, against one divergence for all of them.

    That divergence is measured on the whole global batch, before its first gradient. Evaluations use the one of the
    last step, so that their result does not depend on their batches, and report their own as ``kl``.
    """

    def __init__(
        self,
        scores: AnswerScores,
        *,
        loss: Callable[..., torch.Tensor],
        beta: float,
        ftx: float = 0.0,
        weights: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        super().__init__(scores, beta=beta, ftx=ftx)
        self.loss, self.weights = loss, weights
        self.kl = torch.zeros((), dtype=torch.float64)
        self.one_pass = True
        """Whether the reference may compute in other shapes than the policy."""

    def begin_step(self, model: nn.Module, batches: list[Batch]) -> list[Batch]:
        batches = super().begin_step(model, batches)
        if not any((batch["segments"] == OTHER).any() for batch in batches):
            return batches
        groups = [batches[start : start + TOGETHER] for start in range(0, len(batches), TOGETHER)]
        batches = [batch for group in groups for batch in self._measured(model, group)]
        if model.training:
            moved = torch.cat([batch[MOVED] for batch in batches]).double()
            moved_sum, n = summed_over_processes(torch.stack([moved.sum(), moved.new_tensor(len(moved))]) * self.counts)
            self.kl = (moved_sum / n).clamp(min=0).cpu()
        return batches

    def _measured(self, model: nn.Module, batches: list[Batch]) -> list[Batch]:
        """The batches without the answers to other prompts, but with their log-ratios, and what the reference says.

        The policy's are computed apart from its own answers, without gradient and dropout: those have to wait until
        the divergence of the whole global batch is known. The reference's all in one pass, if it may: in 16 bits the
        same sequence is rounded otherwise in a batch of another shape, by some half a nat of an answer's sum, which is
        more than a policy that has learnt little differs by. There it computes what the policy does, in its shapes.
        """
        whole = joined(batches)
        others = with_one(whole, OTHER)
        with torch.no_grad(), evaluating(model):
            ours_B = self.scores(model, others)[:, 0]
        columns = {}
        if REFERENCE[0] in whole:
            columns = {name: whole[name] for name in REFERENCE}
        elif self.one_pass:
            columns = dict(zip(REFERENCE, self.scores.of_reference(model, whole).unbind(1), strict=True))
        theirs_B = columns[REFERENCE[1]] if columns else self.scores.of_reference(model, others)[:, 0]
        columns[MOVED] = ours_B - theirs_B.to(ours_B.dtype)
        sizes = [len(batch["labels"]) for batch in batches]
        parts = zip(*(values_B.split(sizes) for values_B in columns.values()), strict=True)
        return [
            with_one(batch, ANSWER) | dict(zip(columns, part, strict=True))
            for batch, part in zip(batches, parts, strict=True)
        ]

    def losses(self, logratios_B: torch.Tensor, desirable_B: torch.Tensor) -> torch.Tensor:
        good, bad = self.weights
        losses_B = self.loss(logratios_B, desirable_B, kl=self.kl.to(logratios_B))
        return losses_B * torch.where(desirable_B, good, bad)

    def sums(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> Sums:
        sums = super().sums(model, batch)
        if MOVED in batch:
            sums["kl"] = (batch[MOVED].sum(), self.count(batch))
        return sums

    def state(self) -> dict[str, torch.Tensor]:
        return {"kl": self.kl}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        self.kl = state["kl"]


def computes_in_16_bits(trainer: FtkTrainer) -> bool:
    """Or in fewer."""
    mixed = trainer.args.bf16 or trainer.args.fp16
    return mixed or any(p.dtype.itemsize < 4 for p in trainer.model.parameters())
