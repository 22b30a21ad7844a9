"""What objectives of single answers share: scores of answers by policy and reference, and what is logged of them.

B answers, T positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from ft_plugin_data.config import DataConfig
from ft_plugin_preference.config import PreferenceConfig
from ft_plugin_preference.precomputed import use_precomputed
from ft_plugin_preference.stage import switch_off_dropout
from ft_plugin_reference_model.reference import Reference, reference_for
from ft_plugin_trainer.forks import Forks
from ft_plugin_trainer.objective import Objective
from ft_plugin_trainer.processes import summed_over_processes
from ft_plugin_trainer.targets import IGNORE, TargetLogprobs, next_tokens
from ft_plugin_trainer.trainer import FtkTrainer

from .answers import ANSWER, REFERENCE, length_of, lengths_of

if TYPE_CHECKING:
    from ft_plugin_trainer.objective import Batch, Sums
    from ftk.contracts import Parts
    from ftk.run import Run


class AnswerScores:
    """Summed log-probabilities of answers (B, 2): of a row's own, and of the one to another prompt, 0 if it has none.

    Where the model can, a prompt is computed once for both answers, and nothing is padded.
    """

    def __init__(self, reference: Reference | None) -> None:
        """``reference``: may be None where all rows have the columns of ``REFERENCE`` that they want."""
        self.reference = reference
        self._logprobs, self._forks = TargetLogprobs(), Forks()

    def __call__(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        columns = {name: batch[name] for name in ("input_ids", "labels")}
        inputs = self._forks.inputs(model, columns, lengths_of(batch))
        targets_BT = next_tokens(inputs.pop("labels"))
        logprobs_N = self._logprobs(model, {**inputs, "use_cache": False}, targets_BT).logprobs_N
        row_N, position_N = (batch["labels"] != IGNORE).nonzero(as_tuple=True)
        part_N = batch["segments"][row_N, position_N] - ANSWER
        return logprobs_N.new_zeros(len(batch["labels"]), 2).index_put((row_N, part_N), logprobs_N, accumulate=True)

    def of_reference(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        assert self.reference is not None
        with self.reference.active(model) as module:
            return self(module, batch)


def answer_scores(run: Run, model: nn.Module) -> AnswerScores:
    """Scores by a policy that has not been trained yet, and by its reference."""
    if not run.config[PreferenceConfig].pref_dropout and (n := switch_off_dropout(model)):
        run.logger.info("dropout is off in %d places; pref_dropout: true keeps it", n)
    return AnswerScores(reference_for(run, model))


def answer_trainer(run: Run, parts: Parts, objective: AnswerObjective, *, columns: Sequence[str]) -> FtkTrainer:
    """A trainer. ``columns``: those of ``REFERENCE`` that its rows want where these are computed before."""
    trainer, scores = FtkTrainer(run, parts, objective), objective.scores
    if run.config[PreferenceConfig].precompute_ref_log_probs:

        def logps(model: nn.Module, batch: Batch) -> Sequence[torch.Tensor]:
            return scores.of_reference(model, batch)[:, : len(columns)].unbind(1)

        summed = f"cutoff_len={run.config[DataConfig].cutoff_len}"
        use_precomputed(run, trainer, scores.reference, logps, columns=columns, summed=summed)
        scores.reference = None
    return trainer


class AnswerObjective(Objective):
    """The mean over answers of ``losses``, and ``ftx`` times the mean cross-entropy of the good ones' tokens.

    The second mean is over good answers, each of which is the mean over its tokens, as LLaMA-Factory takes it.
    """

    def __init__(self, scores: AnswerScores, *, beta: float, ftx: float = 0.0) -> None:
        self.scores, self.beta, self.ftx = scores, beta, ftx
        self.answers_per_good = 0.0

    def losses(self, logratios_B: torch.Tensor, desirable_B: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def length(self, row: Mapping[str, object]) -> int:
        return length_of(row)

    def count(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return torch.tensor(len(batch["labels"]), device=batch["labels"].device)

    def begin_step(self, model: nn.Module, batches: list[Batch]) -> list[Batch]:
        if self.ftx and model.training:
            good = torch.cat([batch["desirable"] for batch in batches]).double()
            good_sum, n = summed_over_processes(torch.stack([good.sum(), good.new_tensor(len(good))]) * self.counts)
            self.answers_per_good = float(n / good_sum) if good_sum else 0.0
        device = next(model.parameters()).device
        return [{name: value.to(device) for name, value in batch.items()} for batch in batches]

    def sums(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> Sums:
        good_B, count = batch["desirable"], self.count(batch)
        known = REFERENCE[0] in batch
        reference_B = batch[REFERENCE[0]] if known else self.scores.of_reference(model, batch)[:, 0]
        logp_B = self.scores(model, batch)[:, 0]
        logratios_B = logp_B - reference_B.to(logp_B.dtype)
        loss = self.losses(logratios_B, good_B).sum()
        tokens_B = (batch["labels"][:, 1:] != IGNORE).sum(1)
        sft = (-logp_B / tokens_B)[good_B].sum()
        if model.training and self.ftx:
            loss = loss + self.ftx * self.answers_per_good * sft
        sums: Sums = {"loss": (loss, count)}
        for name, mask_B in (("chosen", good_B), ("rejected", ~good_B)):
            n = mask_B.sum()
            sums[f"rewards/{name}"] = (self.beta * logratios_B[mask_B].sum(), n)
            sums[f"logps/{name}"] = (logp_B[mask_B].sum(), n)
        if self.ftx:
            sums["sft_loss"] = (sft, good_B.sum())
        return sums

    def summary(self, means: dict[str, float]) -> dict[str, float]:
        if self.ftx:
            means = means | {"loss": means["loss"] + self.ftx * means.get("sft_loss", 0.0)}
        return self.logged(means)

    def logged(self, means: dict[str, float]) -> dict[str, float]:
        """Adds the mean reward of good answers minus that of bad ones, where there are both."""
        sides = [f"rewards/{name}" for name in ("chosen", "rejected")]
        if any(name not in means for name in sides):
            return means
        return means | {"rewards/margins": means[sides[0]] - means[sides[1]]}
