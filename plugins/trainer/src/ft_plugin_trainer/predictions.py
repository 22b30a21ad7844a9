"""Losses of whole predictions: entropies, divergences, normalisers. A chunk of logits at a time, with exact gradients.

Shape suffixes: N targets (n: some of them), V vocabulary, H hidden size, B rows, T positions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional as F

from .targets import TargetLogprobs, TargetScores


@dataclass(frozen=True)
class Prediction:
    """What a model says about the tokens that follow some positions. In float32 or better."""

    logits_NV: torch.Tensor
    targets_N: torch.Tensor
    label_smoothing: float = 0.0
    reference_NV: torch.Tensor | None = None
    """The reference's logits, without gradient, for a loss that asked for a reference."""
    columns: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """What a stage knows of each target, by name: N rows each."""

    @cached_property
    def logprobs_NV(self) -> torch.Tensor:
        return self.logits_NV.log_softmax(-1)

    @cached_property
    def reference_logprobs_NV(self) -> torch.Tensor:
        assert self.reference_NV is not None, "the loss asked for no reference"
        return self.reference_NV.log_softmax(-1)

    @property
    def target_logprobs_N(self) -> torch.Tensor:
        return self.logprobs_NV.gather(-1, self.targets_N[:, None]).squeeze(-1)

    @property
    def cross_entropy_N(self) -> torch.Tensor:
        """Of the targets, with label smoothing if the run has it."""
        mean_N = self.logprobs_NV.mean(-1) if self.label_smoothing else 0.0
        return (self.label_smoothing - 1) * self.target_logprobs_N - self.label_smoothing * mean_N


class Reference(Protocol):
    """``ft_plugin_reference_model`` makes such: ``active`` gives a module that computes with its weights."""

    def active(self, policy: nn.Module) -> Any: ...


@dataclass(frozen=True)
class PredictionLoss:
    """A loss that sees more than the log-probability of the target: what ``ftk_loss`` returns for one."""

    function: Callable[[Prediction], torch.Tensor]
    """Losses of N targets, each from its own row alone: the function is given some rows at a time."""
    reference: Callable[[nn.Module], Reference] | None = None
    """The policy, before it has been trained -> the model that ``reference_NV`` is of."""

    def __call__(self, logits_NV: torch.Tensor, targets_N: torch.Tensor, **prediction: Any) -> torch.Tensor:
        return self.function(Prediction(logits_NV, targets_N, **prediction))


TokenLoss = Callable[[torch.Tensor], torch.Tensor] | PredictionLoss
"""What ``ftk_loss`` may return to a stage that predicts tokens; the first kind: log-probabilities -> losses, N each."""


class PredictionScores:
    """Computes a loss of predictions with any causal model of transformers."""

    def __init__(
        self,
        loss: Callable[[Prediction], torch.Tensor],
        *,
        label_smoothing: float = 0.0,
        reference: Reference | None = None,
        scores: TargetLogprobs | None = None,
    ) -> None:
        self.loss, self.label_smoothing, self.reference = loss, label_smoothing, reference
        self.scores = scores or TargetLogprobs()
        self.reference_scores = TargetLogprobs()

    def __call__(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        targets_BT: torch.Tensor,
        *,
        predict: bool = False,
        columns: Mapping[str, torch.Tensor] | None = None,
    ) -> TargetScores:
        """``TargetScores`` whose ``logprobs_N`` are minus the losses of ``targets_BT``."""
        named = dict(columns or {})
        logits_of = None
        if self.reference is not None:
            with self.reference.active(model) as reference:
                named[""], logits_of = self.reference_scores.hidden(reference, inputs, targets_BT)

        def minus_loss(logits_nV: torch.Tensor, targets_n: torch.Tensor, *columns_n: torch.Tensor) -> torch.Tensor:
            given = dict(zip(named, columns_n, strict=True))
            theirs_nV = None
            if self.reference is not None:
                # Once more: the head may be the policy's own with other weights.
                with self.reference.active(model) as reference:
                    theirs_nV = logits_of(reference, given.pop("")).to(logits_nV.dtype)
            return -self.loss(Prediction(logits_nV, targets_n, self.label_smoothing, theirs_nV, given))

        return self.scores.values(model, inputs, targets_BT, minus_loss, tuple(named.values()), predict=predict)


def entropy(logits_NV: torch.Tensor, *, top: int | None = None) -> torch.Tensor:
    """Entropy in nats of predictions, or of their ``top`` most likely tokens among themselves. Of shape N."""
    if top is not None:
        logits_NV = logits_NV.topk(min(top, logits_NV.shape[-1])).values
    logp_NV = logits_NV.log_softmax(-1)
    return -(logp_NV.exp() * logp_NV).sum(-1)


def kl_divergence(logp_NV: torch.Tensor, logq_NV: torch.Tensor) -> torch.Tensor:
    """KL(p || q) in nats, from log-probabilities. Of shape N."""
    return F.kl_div(logq_NV, logp_NV, reduction="none", log_target=True).sum(-1)


def squared_log_partition(logits_NV: torch.Tensor) -> torch.Tensor:
    """``log(Z)^2`` with Z the softmax's normaliser: the auxiliary loss of section 5 of arXiv:2204.02311."""
    return logits_NV.logsumexp(-1).square()


def with_z_loss(loss: TokenLoss, coefficient: float) -> PredictionLoss:
    """The loss and ``coefficient * log(Z)^2``: what PaLM adds (section 5 of arXiv:2204.02311, with 1e-4)."""

    def both(prediction: Prediction) -> torch.Tensor:
        if isinstance(loss, PredictionLoss):
            own_N = loss.function(prediction)
        else:
            own_N = loss(-prediction.cross_entropy_N)
        return own_N + coefficient * squared_log_partition(prediction.logits_NV)

    return PredictionLoss(both, loss.reference if isinstance(loss, PredictionLoss) else None)
