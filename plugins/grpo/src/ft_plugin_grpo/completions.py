"""Scored completions, and the batches that a policy learns from.

Shape suffixes: B completions, T positions of prompt and completion, N tokens of completions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional as F

from ft_plugin_rollouts.prompts import Prompt
from ft_plugin_rollouts.rollouts import Completion
from ft_plugin_trainer.targets import IGNORE

METRIC = "metric/"
"""Prefix of columns of a batch that are logged: a number for each row, NaN where there is none."""


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
    """A micro-batch, padded on the right.

    input_ids, attention_mask, labels (B, T): ``IGNORE`` but at tokens of completions that carry loss
    advantages, learnt (B)
    metric/... (B): what is logged
    """
    width = max(len(row.ids) for row in rows)
    batch = {
        "input_ids": torch.full((len(rows), width), pad, device=device),
        "attention_mask": torch.zeros((len(rows), width), dtype=torch.long, device=device),
        "labels": torch.full((len(rows), width), IGNORE, device=device),
    }
    for i, row in enumerate(rows):
        n, start = len(row.ids), len(row.prompt.ids)
        batch["input_ids"][i, :n] = torch.tensor(row.ids, device=device)
        batch["attention_mask"][i, :n] = 1
        if row.learnt:
            batch["labels"][i, start:n] = batch["input_ids"][i, start:n]
    columns: dict[str, list[float]] = {"advantages": [row.advantage for row in rows]}
    columns |= {METRIC + name: [row.metrics[name] for row in rows] for name in rows[0].metrics}
    # Sums of advantages must be exact where the model is: float32 would round them.
    exact = torch.float32 if device.type == "mps" else torch.float64
    batch |= {name: torch.tensor(values, dtype=exact, device=device) for name, values in columns.items()}
    batch["learnt"] = torch.tensor([row.learnt for row in rows], device=device)
    return batch


def targets_of(batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Labels moved left by one: the token that each position shall predict."""
    return F.pad(batch["labels"][:, 1:], (0, 1), value=IGNORE)


def inputs_of(batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def columns_of(prompts: Sequence[Prompt], completions: Sequence[Completion]) -> dict[str, list[Any]]:
    """What rewards are given beside prompts and completions; ``None`` where a row has no such column."""
    names = dict.fromkeys(name for prompt in prompts for name in prompt.columns)
    columns = {name: [prompt.columns.get(name) for prompt in prompts] for name in names}
    return columns | {"finished": [completion.finished for completion in completions]}
