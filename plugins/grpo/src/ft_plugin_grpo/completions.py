"""Scored completions, and the batches that a policy learns from.

Shape suffix: B completions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from ft_plugin_rollouts.batches import metric_columns, on_device, token_batch
from ft_plugin_rollouts.prompts import Prompt
from ft_plugin_rollouts.rollouts import Completion


@dataclass(slots=True)
class Scored:
    """One completion and what came of it."""

    prompt: Prompt
    completion: Completion
    reward: float
    """NaN where no reward gave a number."""
    parts: Mapping[str, float | None]
    """Each reward's own number."""
    advantage: float = 0.0
    learnt: bool = True
    """Whether it carries loss."""
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def ids(self) -> list[int]:
        return self.prompt.ids + self.completion.ids


def batch_of(rows: Sequence[Scored], pad: int, device: torch.device) -> dict[str, torch.Tensor]:
    """A micro-batch: what ``token_batch`` makes of the rows, none of whose tokens carries loss where it is not learnt.

    advantages, learnt (B)
    metric/... (B): what is logged
    """
    tokens = [(row.ids, len(row.prompt.ids) if row.learnt else len(row.ids)) for row in rows]
    batch = token_batch(tokens, pad) | metric_columns(row.metrics for row in rows)
    # Sums of advantages must be exact where the model is: float32 would round them.
    batch["advantages"] = torch.tensor([row.advantage for row in rows], dtype=torch.float64)
    batch["learnt"] = torch.tensor([row.learnt for row in rows])
    return on_device(batch, device)
