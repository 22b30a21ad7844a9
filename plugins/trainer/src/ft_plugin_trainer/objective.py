"""What a stage minimises, and the objective of those that predict the next token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from .predictions import PredictionLoss, PredictionScores, TokenLoss, with_z_loss
from .targets import IGNORE, TargetLogprobs, next_tokens, unwrapped

Batch = dict[str, Any]
"""Tensors whose first dimension is rows, and perhaps lists of as many entries."""
Sums = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""Name -> a sum over a batch, and what to divide it by when both are summed over batches and processes."""


class Objective:
    """The mean of a sum over targets: tokens, pairs, whatever a stage counts.

    A stage says how many targets a batch holds and what their losses sum to. The trainer divides by the number of
    targets of the whole global batch, so the result does not depend on how that batch was cut.

    A batch is what the stage's encoder collates: tensors whose first dimension is rows of the dataset. A stage that
    makes its batches while it trains, from what the model itself says, does so in ``begin_step``.
    """

    step: int = 0
    """Optimizer steps made so far, also before the run was resumed. The trainer sets it before ``begin_step``."""

    counts: bool = True
    """Whether the step's rows count; not where they only repeat those of another process. Set before ``begin_step``."""

    whole: bool = False
    """Whether a step that fits into one micro-batch is less work in one than in several."""

    def begin_step(self, model: nn.Module, batches: list[Batch]) -> list[Batch]:
        """The micro-batches of an optimizer step, made of those that were drawn for it on this process.

        Called once for each step, on every process, before targets are counted; and with each batch of an evaluation,
        where ``model.training`` is false. There may be more of them than were drawn, or fewer. Random numbers come from
        the run's seed and ``step``, so that a resumed run draws alike.
        """
        return batches

    def count(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """How many targets, or what weight of targets, the batch holds: a scalar."""
        raise NotImplementedError

    def sums(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> Sums:
        """At least ``loss``: the sum of the batch's losses, with gradient, and ``count(batch)``. Others are logged.

        ``model.training`` tells training from evaluation.
        """
        raise NotImplementedError

    def length(self, row: Mapping[str, Any]) -> int:
        """Positions of a row of the dataset. Saying so lets the trainer cut a global batch so that few are padding.

        Only where the sums of a batch are sums over its rows: no row may matter to another one's loss.
        """
        raise NotImplementedError

    def modules(self) -> dict[str, nn.Module]:
        """What trains beside the model, by name: the same objects at every call.

        They are in the optimizer, are clipped with the model, and are saved as ``<name>.safetensors`` beside it.
        """
        return {}

    def state(self) -> dict[str, torch.Tensor]:
        """What else a run that goes on from a checkpoint must know: each process keeps its own, in checkpoints only."""
        return {}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take back what ``state`` gave."""

    def logged(self, means: dict[str, float]) -> dict[str, float]:
        """Means over the steps since the last log entry, without the loss -> what is logged of them."""
        return means

    def summary(self, means: dict[str, float]) -> dict[str, float]:
        """Means over an evaluation set -> its metrics."""
        return means


class NextToken(Objective):
    """Weighted cross-entropy of the next token.

    Batches have ``labels`` (B, T; ``IGNORE`` where there is no target), perhaps ``weights`` (B, T), and the model's
    inputs. The loss is a weighted mean: the sum of weight times loss, over the sum of weights.
    """

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        accuracy: bool = False,
        token_loss: TokenLoss | None = None,
        z_loss: float = 0.0,
        policy: nn.Module | None = None,
    ) -> None:
        """
        token_loss  log-probabilities of targets -> their losses, one for each, minus them when not given; or a
                    ``PredictionLoss``, and then the ``policy`` too if that wants a reference
        z_loss      weight of ``log(Z)^2`` of each target's prediction beside its loss
        """
        self.logprobs = TargetLogprobs(label_smoothing=label_smoothing)
        self.accuracy = accuracy
        self.token_loss = token_loss or torch.neg
        if z_loss:
            self.token_loss = with_z_loss(self.token_loss, z_loss)
        self.predictions: PredictionScores | None = None
        if isinstance(self.token_loss, PredictionLoss):
            reference = None if self.token_loss.reference is None else self.token_loss.reference(policy)
            self.predictions = PredictionScores(
                self.token_loss.function, label_smoothing=label_smoothing, reference=reference
            )

    def count(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        mask_BT = batch["labels"][:, 1:] != IGNORE
        return batch["weights"][:, 1:][mask_BT].sum() if "weights" in batch else mask_BT.sum()

    def length(self, row: Mapping[str, Any]) -> int:
        return len(row["input_ids"])

    def sums(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> Sums:
        inputs = {key: value for key, value in batch.items() if key not in ("labels", "weights")}
        targets_BT = next_tokens(batch["labels"])
        predict = self.accuracy and not model.training
        scores = (self.predictions or self.logprobs)(model, inputs, targets_BT, predict=predict)
        loss_N = -scores.logprobs_N if self.predictions else self.token_loss(scores.logprobs_N)
        count = self.count(batch)
        if "weights" in batch:
            loss_N = loss_N * batch["weights"][:, 1:][batch["labels"][:, 1:] != IGNORE].to(loss_N.dtype)
        loss = loss_N.sum()
        if model.training and (aux_loss := getattr(scores.outputs, "aux_loss", None)) is not None:
            loss = loss + router_coefficient(model) * aux_loss * count
        sums: Sums = {"loss": (loss, count)}
        if predict:
            targets_N = targets_BT[targets_BT != IGNORE]
            sums["accuracy"] = (
                (scores.predicted_N == targets_N).sum(),
                torch.tensor(len(targets_N), device=loss.device),
            )
        return sums


def balances_experts(model: Any) -> bool:
    """Whether the model returns a load-balancing loss, of which a part is minimised."""
    config = unwrapped(model).config.get_text_config()
    return bool(getattr(config, "output_router_logits", False) and router_coefficient(model))


def router_coefficient(model: Any) -> float:
    """How much the load-balancing loss of a mixture of experts counts."""
    config = unwrapped(model).config.get_text_config()
    return getattr(config, "router_aux_loss_coef", 0.0)
