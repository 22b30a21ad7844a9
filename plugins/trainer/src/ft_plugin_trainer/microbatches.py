"""Cutting a global batch into the micro-batches that take the least time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from accelerate import DistributedType
from torch import nn
from torch.nn.parallel import DistributedDataParallel

if TYPE_CHECKING:
    from accelerate import Accelerator

Row = Mapping[str, Any]

OVERHEAD_ON_CPU = 48
"""The positions whose products take as long as reading all weights once, which each micro-batch does.

At a position, a weight takes part in a multiplication and an addition. In float32 it takes 0.4 ns to read it at some
10 GB/s and 0.011 ns to use it at some 180 GFLOP/s of a core: as much as 36 positions; in bfloat16 on a core with tiles,
at 1,200 GFLOP/s, some 120. Backward passes read and compute in the same proportion. The time that all takes has a flat
minimum there: half or twice as much costs one or two percent.
"""
OVERHEAD_ON_ACCELERATOR = 256
"""The same of an accelerator: 2 bytes at 3.35 TB/s, two operations at 990 TFLOP/s (H100, bfloat16) make 295."""
MULTIPLE_ON_ACCELERATOR = 8
"""Of which collators make lengths a multiple there."""


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
        none = [] if parts else [torch.empty(0, dtype=torch.long)]
        super().__init__({name: torch.cat(none + [part[name].flatten() for part in parts]) for name in names})


def shared_out(batches: Sequence[dict[str, Any]], places: int) -> list[dict[str, Any]]:
    """All batches in order, in so many places. With fewer batches some places are empty, but never the last."""
    bounds = [i * len(batches) // places for i in range(places + 1)]
    parts = [batches[start:stop] for start, stop in itertools.pairwise(bounds)]
    return [part[0] if len(part) == 1 else Several(part) for part in parts]


def must_agree(accelerator: Accelerator, model: nn.Module) -> bool:
    """Whether all processes must make equally many micro-batches of a step.

    Shards of weights are gathered in each forward and backward pass together with all other processes, which would
    wait for ever for one that makes a pass less. Copies of a model meet only in the last backward pass of a step.
    """
    if accelerator.distributed_type == DistributedType.NO:
        return False
    copies = isinstance(getattr(model, "_orig_mod", model), DistributedDataParallel)
    return not copies or bool(accelerator.gradient_state.plugin_kwargs.get("sync_each_batch"))


def by_cost(batches: Sequence[Rows], length: Callable[[Row], int], *, device: str) -> list[Rows]:
    """The rows of all batches in the batches that take the least time, the longest rows first; without repeated ones.

    None needs more memory than the longest rows in a batch of the size that was drawn: no more positions, and as their
    rows are no longer, no more pairs of positions either. Longest first, so that a run which is short of memory says so
    in its first step rather than after hours.
    """
    counted = [batch for batch in batches if not batch.repeated]
    if not counted:
        return list(batches[:1])
    overhead, multiple = OVERHEAD_ON_CPU, 1
    if device != "cpu":
        overhead, multiple = OVERHEAD_ON_ACCELERATOR, MULTIPLE_ON_ACCELERATOR
    rows = _longest_first(counted, length)
    lengths = [-(-length(row) // multiple) * multiple for row in rows]
    most = max(len(batch.rows) for batch in counted) * lengths[0]
    return _cut(rows, cheapest_cut(lengths, overhead=overhead, most=most))


def by_length(batches: Sequence[Rows], length: Callable[[Row], int]) -> list[Rows]:
    """The rows of all batches in as many of the same sizes, the longest rows first; repeated ones stay apart."""
    counted = [batch for batch in batches if not batch.repeated]
    sizes = sorted((len(batch.rows) for batch in counted), reverse=True)
    return _cut(_longest_first(counted, length), sizes) + [batch for batch in batches if batch.repeated]


def cheapest_cut(lengths: Sequence[int], *, overhead: int, most: int) -> list[int]:
    """The sizes of the groups into which rows of these lengths, longest first, are cut at the least cost.

    A group costs its positions, rows times its longest row, and ``overhead``. It has ``most`` positions, or one row.
    """
    n = len(lengths)
    sizes, costs = [0] * n, [0] * (n + 1)  # minus that of the group that begins at a row; of all rows from there on
    for i in reversed(range(n)):
        room = min(n - i, max(1, most // max(lengths[i], 1)))
        ways = ((size * lengths[i] + overhead + costs[i + size], -size) for size in range(1, room + 1))
        costs[i], sizes[i] = min(ways)
    starts = [0]
    while starts[-1] < n:
        starts.append(starts[-1] - sizes[starts[-1]])
    return [stop - start for start, stop in itertools.pairwise(starts)]


def _longest_first(batches: Sequence[Rows], length: Callable[[Row], int]) -> list[Row]:
    return sorted((row for batch in batches for row in batch.rows), key=length, reverse=True)


def _cut(rows: Sequence[Row], sizes: Sequence[int]) -> list[Rows]:
    ends = list(itertools.accumulate(sizes))
    return [Rows(list(rows[end - size : end])) for end, size in zip(ends, sizes, strict=True)]
