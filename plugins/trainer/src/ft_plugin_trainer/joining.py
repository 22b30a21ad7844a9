"""Rows put together into one: without padding, and what neighbours begin with alike computed once.

Shape suffixes: R rows, S positions of a row, G forks, K parts of a fork.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from .forks import Columns, Forks
from .targets import IGNORE


def forked(
    prompt: Sequence[int], branches: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> tuple[dict[str, list[int]], list[int]]:
    """A row in which each branch begins with the prompt's last token: its ids and labels, and lengths of its parts.

    branches  the token ids of each and their labels
    """
    *prefix, last = prompt
    ids, labels, lengths = list(prefix), [IGNORE] * len(prefix), [len(prefix)]
    for own_ids, own_labels in branches:
        ids += [last, *own_ids]
        labels += [IGNORE, *own_labels]
        lengths.append(1 + len(own_ids))
    return {"input_ids": ids, "labels": labels}, lengths


def joined_for(model: nn.Module, forks: Forks, columns: Columns) -> Columns:
    """``joined(columns)`` where there are several rows and the model computes forks by parts, or else ``columns``."""
    longest = columns["attention_mask"].sum(1, keepdim=True)
    if len(longest) == 1 or not forks.by_parts(model, longest):
        return columns
    return joined(columns)


def joined(columns: Columns) -> Columns:
    """One row of forks (see ``forks``) of rows that are padded on the right; targets come in the same order.

    columns  ``input_ids``, ``labels``, ``attention_mask`` and whatever else there is of each position, of shape (R, S)
    """
    real_RS, labels_RS = columns["attention_mask"].bool(), columns["labels"].clone()
    labels_RS[:, 0] = IGNORE  # nothing is before it, where now the row before ends
    lengths_R = real_RS.sum(1).tolist()
    forks = _forks(columns["input_ids"].cpu(), _own(labels_RS, real_RS), lengths_R)
    starts_R = [shared * (i > 0) for shared, rows in forks for i, _ in enumerate(rows)]
    steps_S = torch.arange(real_RS.shape[1], device=real_RS.device)
    kept_RS = real_RS & (steps_S >= torch.tensor(starts_R, device=real_RS.device)[:, None])
    parts = [torch.tensor([shared, *(lengths_R[r] - shared for r in rows)]) for shared, rows in forks]
    placed = {**columns, "labels": labels_RS, "position_ids": steps_S.expand_as(real_RS)}
    made = {name: value_RS[kept_RS][None] for name, value_RS in placed.items()}
    return {**made, "attention_mask": pad_sequence(parts, batch_first=True)[None, None]}


def _own(labels_RS: torch.Tensor, real_RS: torch.Tensor) -> list[int]:
    """From where on positions are a row's own: a target needs the one before it, which cannot predict two."""
    target_RS = labels_RS != IGNORE
    first_R = target_RS.int().argmax(1) - 1
    return torch.where(target_RS.any(1), first_R, real_RS.sum(1)).tolist()


def _forks(ids_RS: torch.Tensor, own_R: list[int], lengths_R: list[int]) -> list[tuple[int, list[int]]]:
    """How many positions neighbours share, and which rows they are."""
    forks: list[tuple[int, list[int]]] = []
    for r, own in enumerate(own_R):
        if forks:
            shared, rows = forks[-1]
            common = min(shared, own, int((ids_RS[r] == ids_RS[rows[0]]).int().cumprod(0).sum()))
            # Each of the rows would have to hold what is no longer shared.
            if len(rows) * (shared - common) < shared:
                forks[-1] = (common, [*rows, r])
                continue
        forks.append((own, [r]))
    return forks
