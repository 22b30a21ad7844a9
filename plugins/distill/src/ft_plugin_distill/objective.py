"""The divergence of the student from its teacher, on answers of the data or of the student itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ft_plugin_reference_model.reference import SeparateModel
from ft_plugin_rollouts.rollouts import Rollouts, seed_of
from ft_plugin_trainer.encoding import last_answer
from ft_plugin_trainer.objective import NextToken
from ft_plugin_trainer.predictions import Prediction, PredictionLoss, PredictionScores
from ft_plugin_trainer.targets import IGNORE, next_tokens

from .cache import Kept
from .collate import ROW, RowCollator, rows_of
from .loss import generalized_jsd, top_k_jsd
from .teacher import model_inputs

if TYPE_CHECKING:
    from ft_plugin_trainer.objective import Batch, Sums


class Distillation(NextToken):
    """The mean over targets, weighted like a cross-entropy's.

    teacher  the model, or what it said of the data: of rows to train on, and of rows to evaluate on
    """

    def __init__(
        self,
        teacher: SeparateModel | tuple[Kept | None, Kept | None],
        *,
        beta: float,
        temperature: float,
        vocabulary: int,
        loss: PredictionLoss | None = None,
    ) -> None:
        super().__init__()
        self.kept = teacher if isinstance(teacher, tuple) else None
        self.beta, self.temperature, self.vocabulary = beta, temperature, vocabulary
        reference = teacher if isinstance(teacher, SeparateModel) else None
        self.divergence = PredictionScores(loss.function if loss else self.loss, reference=reference)
        self.answers: OwnAnswers | None = None

    def loss(self, at: Prediction) -> torch.Tensor:
        student_NV = self._logprobs(at.logits_NV)
        if at.columns:
            ids_NK, teacher_NK = at.columns["ids"], at.columns["logprobs"].to(student_NV.dtype)
            return top_k_jsd(student_NV, ids_NK, teacher_NK, beta=self.beta)
        assert at.reference_NV is not None
        return generalized_jsd(student_NV, self._logprobs(at.reference_NV), beta=self.beta)

    def _logprobs(self, logits_NV: torch.Tensor) -> torch.Tensor:
        # Embeddings may have been padded, and not alike.
        return (logits_NV[:, : self.vocabulary] / self.temperature).log_softmax(-1)

    def begin_step(self, model: nn.Module, batches: list[Batch]) -> list[Batch]:
        if self.answers is None or not model.training:
            return batches
        return self.answers.put_into(batches, model, self.step)

    def sums(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> Sums:
        targets_BT = next_tokens(batch["labels"])
        columns = {}
        if self.kept is not None and (kept := self.kept[0 if model.training else 1]) is not None:
            found = kept.of(batch[ROW].tolist())
            columns = {name: x.to(targets_BT.device) for name, x in zip(("ids", "logprobs"), found, strict=True)}
        loss_N = -self.divergence(model, model_inputs(batch), targets_BT, columns=columns).logprobs_N
        if "weights" in batch:
            loss_N = loss_N * batch["weights"][:, 1:][batch["labels"][:, 1:] != IGNORE].to(loss_N.dtype)
        sums: Sums = {"loss": (loss_N.sum(), self.count(batch))}
        if self.answers is not None and model.training:
            sums["on_policy"] = (batch["own"].sum(), torch.tensor(len(batch["own"]), device=batch["own"].device))
        return sums


class OwnAnswers:
    """Puts answers of the student in the place of those of the data, for a share of the rows.

    Which rows, depends on the seed, the step and the row alone.
    """

    def __init__(self, rollouts: Rollouts, collate: RowCollator, *, share: float, seed: int) -> None:
        self.rollouts, self.collate, self.share, self.seed = rollouts, collate, share, seed

    def chosen(self, step: int, row: int) -> bool:
        return seed_of(self.seed, "own answer", step, row) / 2**63 < self.share

    def put_into(self, batches: list[Batch], model: nn.Module, step: int) -> list[Batch]:
        rows = [rows_of(batch) for batch in batches]
        wanted: list[dict[str, Any]] = [r for part in rows for r in part if self.chosen(step, r[ROW])]
        prompts = [last_answer(row["input_ids"], row["labels"])[0] for row in wanted]
        completions = self.rollouts.generate(model, prompts, step=step)
        for row, prompt, (completion,) in zip(wanted, prompts, completions, strict=True):
            row["input_ids"] = [*prompt, *completion.ids]
            row["labels"] = [IGNORE] * len(prompt) + completion.ids
            row["weights"], row["own"] = None, True
        device = next(model.parameters()).device
        return [{name: x.to(device) for name, x in self.collate(part).items()} for part in rows]
