"""Cutting a global batch into micro-batches of rows of like length."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

Row = Mapping[str, Any]


@dataclass(slots=True)
class Rows:
    """A batch as drawn, not collated yet: not a list, into which loaders would look."""

    rows: list[Row]
    repeated: bool = False
    """Another process has these rows too; here they count nothing."""

    @classmethod
    def collate(cls, rows: Sequence[Row]) -> Rows:
        return cls(list(rows))


class Several(dict):
    """Micro-batches that transformers takes for one, as it fixes how many a step has before they are made."""

    def __init__(self, parts: Sequence[Mapping[str, Any]]) -> None:
        self.parts = parts
        # For its counts of tokens.
        names = [name for name in ("input_ids", "attention_mask") if all(name in part for part in parts)]
        super().__init__({name: torch.cat([part[name].flatten() for part in parts]) for name in names})


def shared_out(batches: Sequence[dict[str, Any]], places: int) -> list[dict[str, Any]]:
    """All batches in order, in so many places; there are no fewer batches than places."""
    bounds = [round(i * len(batches) / places) for i in range(places + 1)]
    parts = [batches[start:stop] for start, stop in itertools.pairwise(bounds)]
    return [part[0] if len(part) == 1 else Several(part) for part in parts]


def by_length(batches: Sequence[Rows], length: Callable[[Row], int]) -> list[Rows]:
    """The rows of all batches in as many batches of the same sizes, the longest rows first; repeated ones stay apart.

    Longest first, so that a run which is short of memory says so in its first step rather than after hours.
    """
    counted = [batch for batch in batches if not batch.repeated]
    rows = iter(sorted((row for batch in counted for row in batch.rows), key=length, reverse=True))
    sizes = sorted((len(batch.rows) for batch in counted), reverse=True)
    return [Rows([next(rows) for _ in range(size)]) for size in sizes] + [b for b in batches if b.repeated]
