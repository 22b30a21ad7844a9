"""The teacher, and what it says of the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from ft_plugin_reference_model.reference import (
    SeparateModel,
    mixed_precision,
    require_same_vocabulary,
    vocabulary_size,
)
from ft_plugin_trainer.logprobs import exact_dtype
from ft_plugin_trainer.targets import TargetLogprobs, next_tokens
from ftk.problems import RunError

from .config import DistillConfig

if TYPE_CHECKING:
    from ftk.run import Run

CHUNK = 1 << 24
"""Logits held at once."""


def load_teacher(run: Run, student: nn.Module) -> SeparateModel:
    """The model that ``teacher_model`` names. Raises RunError for one of another vocabulary."""
    name = run.config[DistillConfig].teacher_model
    if not name:
        raise RunError("teacher_model is not set", "name a model with the student's vocabulary")
    model = run.load_model("teacher")
    require_same_vocabulary(run, name, vocabulary_size(student), vocabulary_size(model), key="teacher_model")
    return SeparateModel(model, autocast=mixed_precision(run))


def model_inputs(batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def top_predictions(
    teacher: SeparateModel,
    student: nn.Module,
    batches: Iterator[Mapping[str, torch.Tensor]],
    *,
    k: int,
    temperature: float,
    vocabulary: int,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """For each batch: its targets' ``k`` most likely tokens and their log-probabilities, (N, k) each.

    vocabulary  tokens that count; what the teacher's embeddings have beyond is padding
    """
    scores = TargetLogprobs()
    device = next(student.parameters()).device
    for batch in batches:
        batch = {name: value.to(device) for name, value in batch.items()}
        with teacher.active(student) as module:
            rows_NX, logits_of = scores.hidden(module, model_inputs(batch), next_tokens(batch["labels"]))
            found: list[Sequence[torch.Tensor]] = []
            for part in rows_NX.split(max(1, CHUNK // vocabulary)):
                logits_nV = logits_of(module, part)[:, :vocabulary]
                logp_nV = (logits_nV.to(exact_dtype(logits_nV.dtype)) / temperature).log_softmax(-1)
                found.append(logp_nV.topk(k))
        yield torch.cat([ids for _, ids in found]), torch.cat([logp for logp, _ in found])
