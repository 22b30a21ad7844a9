"""Which documents share a sequence: best-fit decreasing, and where that leaves room, the fullest combinations.

Both work on the numbers of documents of each length, not on documents: their time grows with how many different lengths
there are, and hardly with how many documents.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

FULL = 0.999
"""How full is full enough not to look for anything better."""
NEAR = 2048
"""How far below the longest that fits candidates for a pair are looked for: what bounds the time of a step."""


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


def fill(lengths: np.ndarray, capacity: int) -> Bins:
    """Documents of these lengths in few bins. Raises ValueError for a length not between 1 and ``capacity``.

    Bins come in the order of their first document, so that data which is not shuffled keeps roughly its order. The same
    lengths give the same bins.
    """
    if not len(lengths):
        return Bins(np.empty(0, np.int64), np.zeros(1, np.int64))
    if lengths.min() < 1 or lengths.max() > capacity:
        raise ValueError(f"lengths from {lengths.min()} to {lengths.max()} do not fit into bins of {capacity}")
    bin_of = best_fit_decreasing(lengths, capacity)
    total, bins = int(lengths.sum()), int(bin_of.max()) + 1
    if total < FULL * capacity * bins and -(-total // capacity) < bins:
        other = fullest_first(lengths, capacity)
        bin_of = other if other.max() + 1 < bins else bin_of
    members = np.argsort(bin_of, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(bin_of))])
    return _in_order_of_first(members, starts)


def best_fit_decreasing(lengths: np.ndarray, capacity: int) -> np.ndarray:
    """The bin of each document. The longest first, each goes into the fullest bin that still has room for it.

    Equal lengths are placed together: best fit fills one bin with them until no more fits, then the next of the same
    space, so all bins of one space take the same number at once. A step uses up either the documents of that length or
    the bins of that space, whose room then falls below half.
    """
    by_length = np.argsort(-lengths, kind="stable")
    bin_of = np.empty(len(lengths), np.int64)
    open_bins = _OpenBins(capacity)
    firsts = np.flatnonzero(np.diff(lengths[by_length], prepend=capacity + 1))
    for start, stop in zip(firsts, [*firsts[1:], len(lengths)], strict=True):
        bin_of[by_length[start:stop]] = open_bins.place(int(lengths[by_length[start]]), int(stop - start))
    return bin_of


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


def fullest_first(lengths: np.ndarray, capacity: int) -> np.ndarray:
    """The bin of each document. Bin after bin gets the longest left and what fills it best, one or two at a time.

    What was found for one bin is used for as many as there are documents for, so that a search uses up a length.
    """
    by_length = np.argsort(lengths, kind="stable")
    left = np.bincount(lengths, minlength=capacity + 1)
    next_of = np.cumsum(left) - left
    bin_of = np.empty(len(lengths), np.int64)
    first = 0
    for pattern, bins in _patterns(_Stock(left), capacity):
        for length, times in pattern.items():
            start = next_of[length]
            next_of[length] += bins * times
            bin_of[by_length[start : next_of[length]]] = np.repeat(np.arange(first, first + bins), times)
        first += bins
    return bin_of


def _patterns(stock: _Stock, capacity: int) -> Iterator[tuple[Counter[int], int]]:
    """Lengths that share a bin, and how many bins get them."""
    while longest := stock.longest(capacity):
        pattern: Counter[int] = Counter()
        room, chosen = capacity, [longest]
        while chosen:
            for length in chosen:
                stock.take(length, 1)
                pattern[length] += 1
                room -= length
            chosen = stock.best(room)
        more = min(int(stock.left[length]) // times for length, times in pattern.items())
        for length, times in pattern.items():
            stock.take(length, more * times)
        yield pattern, 1 + more


class _Stock:
    """How many documents of each length are left."""

    def __init__(self, left: np.ndarray) -> None:
        self.left = left.copy()
        self.below = np.maximum.accumulate(np.where(left > 0, np.arange(len(left)), 0))
        """Room -> the longest length that fits, 0 for none."""

    def longest(self, room: int) -> int:
        return int(self.below[room])

    def take(self, length: int, count: int) -> None:
        self.left[length] -= count
        if not self.left[length]:
            end = int(np.searchsorted(self.below, length, "right"))
            self.below[length:end] = self.below[length - 1]

    def best(self, room: int) -> list[int]:
        """What to put into this room next: where it takes many, the longest; else the one or two that fill it best."""
        longest = self.longest(room)
        if not longest or longest == room:
            return [longest] if longest else []
        if room > 2 * longest:
            return [longest] * min(int(self.left[longest]), -(-room // longest) - 2)
        near = self.below[max(1, longest - NEAR) : longest + 1]
        ones = near[np.diff(near, prepend=0) > 0]
        twos = self.below[room - ones]
        alone = (twos == ones) & (self.left[ones] < 2)
        twos = np.where(alone, self.below[ones - 1], twos)
        # Of equally good pairs the one with the longest: short documents are what later gaps are filled with.
        at = len(ones) - 1 - int(np.argmax((ones + twos)[::-1]))
        return [int(length) for length in (ones[at], twos[at]) if length]


def _in_order_of_first(members: np.ndarray, starts: np.ndarray) -> Bins:
    order = np.argsort(members[starts[:-1]], kind="stable")
    sizes = np.diff(starts)[order]
    ends = np.cumsum(sizes)
    moved = np.repeat(starts[:-1][order] - (ends - sizes), sizes) + np.arange(len(members))
    return Bins(members[moved], np.concatenate([[0], ends]))
