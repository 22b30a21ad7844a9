"""Best-fit decreasing: which documents share a sequence."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Bins:
    """Documents by bin. Bin ``i`` holds ``members[starts[i] : starts[i + 1]]``."""

    members: np.ndarray
    """Each document exactly once, ascending within a bin."""
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        return self.members[self.starts[i] : self.starts[i + 1]]


def best_fit(lengths: np.ndarray, capacity: int) -> Bins:
    """Each document, the longest first, goes into the fullest bin that still has room for it.

    Bins come in the order of their first document, so that data which is not shuffled keeps roughly its order. The same
    lengths give the same bins. Raises ValueError for a length that is not between 1 and ``capacity``.

    Equal lengths are placed together: best fit fills one bin with them until no more fits, then the next of the same
    space, so all bins of one space take the same number at once. A step uses up either the documents of that length or
    the bins of that space, whose room then falls below half: after the sort the work grows with the number of different
    lengths times the logarithm of the capacity, whatever the number of documents.
    """
    if not len(lengths):
        return Bins(np.empty(0, np.int64), np.zeros(1, np.int64))
    if lengths.min() < 1 or lengths.max() > capacity:
        raise ValueError(f"lengths from {lengths.min()} to {lengths.max()} do not fit into bins of {capacity}")
    by_length = np.argsort(-lengths, kind="stable")
    bin_of = np.empty(len(lengths), np.int64)
    open_bins = _OpenBins(capacity)
    firsts = np.flatnonzero(np.diff(lengths[by_length], prepend=capacity + 1))
    for start, stop in zip(firsts, [*firsts[1:], len(lengths)], strict=True):
        bin_of[by_length[start:stop]] = open_bins.place(int(lengths[by_length[start]]), int(stop - start))
    members = np.argsort(bin_of, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(bin_of))])
    return _in_order_of_first(members, starts)


class _OpenBins:
    """Bins by the space that is left in them."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.count = capacity, 0
        self.bins: dict[int, list[np.ndarray]] = {}
        """Space -> numbers of the bins that have it, in pieces."""
        self.spaces: list[int] = []
        """The keys of ``bins``, ascending."""

    def place(self, length: int, count: int) -> np.ndarray:
        """The bins of ``count`` documents of one length, one after the other."""
        placed = []
        while count:
            space, bins = self._tightest(length, count)
            each = space // length
            bins, rest = np.split(bins, [-(-count // each)])
            self._put(space, rest)
            full, last = divmod(count, each) if len(bins) * each > count else (len(bins), 0)
            self._put(space - each * length, bins[:full])
            self._put(space - last * length, bins[full:])
            placed.append(np.repeat(bins, each)[:count])
            count -= len(placed[-1])
        return np.concatenate(placed)

    def _tightest(self, length: int, count: int) -> tuple[int, np.ndarray]:
        """The smallest space that holds the length, and the bins that have it; new bins where there is none."""
        at = bisect_left(self.spaces, length)
        if at < len(self.spaces):
            space = self.spaces.pop(at)
            return space, np.concatenate(self.bins.pop(space))
        new = -(-count // (self.capacity // length))
        self.count += new
        return self.capacity, np.arange(self.count - new, self.count)

    def _put(self, space: int, bins: np.ndarray) -> None:
        if not space or not len(bins):
            return
        if space not in self.bins:
            insort(self.spaces, space)
        self.bins.setdefault(space, []).append(bins)


def _in_order_of_first(members: np.ndarray, starts: np.ndarray) -> Bins:
    order = np.argsort(members[starts[:-1]], kind="stable")
    sizes = np.diff(starts)[order]
    ends = np.cumsum(sizes)
    moved = np.repeat(starts[:-1][order] - (ends - sizes), sizes) + np.arange(len(members))
    return Bins(members[moved], np.concatenate([[0], ends]))
