"""Cutting a global batch into micro-batches of rows of like length."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


def by_length(batches: Sequence[Rows], length: Callable[[Row], int]) -> list[Rows]:
    """The rows of all batches in as many batches of the same sizes, the longest rows first; repeated ones stay apart.

    Longest first, so that a run which is short of memory says so in its first step rather than after hours.
    """
    counted = [batch for batch in batches if not batch.repeated]
    rows = iter(sorted((row for batch in counted for row in batch.rows), key=length, reverse=True))
    sizes = sorted((len(batch.rows) for batch in counted), reverse=True)
    return [Rows([next(rows) for _ in range(size)]) for size in sizes] + [b for b in batches if b.repeated]
