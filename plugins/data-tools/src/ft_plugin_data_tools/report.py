"""What was counted, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ft_plugin_data.ledger import table

if TYPE_CHECKING:
    from .stats import Stats

BINS = 12
WIDTH = 48
"""Characters of the longest bar."""


def report(stats: Stats) -> str:
    return "\n".join(_lines(stats))


def _lines(stats: Stats) -> Iterator[str]:
    found = stats.as_dict()
    yield table(stats.ledgers)
    yield ""
    yield f"{'':<12}{'total':>12}{'mean':>9}{'50%':>8}{'90%':>8}{'95%':>8}{'99%':>8}{'longest':>9}"
    for name, values in (("tokens", found["tokens"]), ("with loss", found["with_loss"])):
        if values:
            total, mean, *rest, most = values.values()
            yield f"{name:<12}{total:>12,}{mean:>9,}" + "".join(f"{n:>8,}" for n in rest) + f"{most:>9,}"
    for title, counts in (("tokens in a sequence", stats.lengths), ("of them with loss", stats.targets)):
        if len(counts):
            yield ""
            yield title
            yield from histogram(counts)
    yield ""
    rows = max(sum(stats.scripts.values()), 1)
    yield f"the same as an earlier row: {_share(stats.duplicates, rows)}"
    yield f"with a prompt of an earlier row, but for case and punctuation: {_share(stats.alike_prompts, rows)}"
    yield "rows by script: " + ", ".join(f"{name} {n:,}" for name, n in stats.scripts.items())
    if stats.cut:
        yield ""
        yield f"cutoff_len {'sequences longer':>24} {'tokens beyond':>24}"
        for each in stats.cut:
            here = " (this run)" if each["cutoff_len"] == stats.cutoff_len else ""
            longer = _share(each["sequences"], len(stats.lengths))
            yield f"{each['cutoff_len']:>10,} {longer:>24} {_share(each['tokens'], stats.uncut):>24}{here}"
    if stats.packing:
        pack = stats.packing
        yield f"\npacked: {pack['sequences']:,} sequences of {pack['tokens']:,} tokens, {pack['full']:.2%} full"
    if stats.steps:
        s = stats.steps
        steps = f"{s['steps']:,} steps of {s['global_batch']:,} rows"
        yield f"\ntraining: {steps}, {s['epochs']:g} epochs of {s['rows']:,} rows"


def _share(part: int, whole: int) -> str:
    return f"{part:,} ({part / whole:.1%})" if part and whole else f"{part:,}"


def histogram(counts: np.ndarray) -> Iterator[str]:
    """A line for each of some ranges of equal width, with a bar."""
    numbers, edges = bins(counts)
    wide = len(f"{edges[-1]:,}")
    for number, low, high in zip(numbers, edges[:-1], edges[1:], strict=True):
        bar = "#" * ceil_share(number, numbers.max())
        yield f"{low:>{wide},} - {high - 1:>{wide},}  {bar:<{WIDTH}}  {number:,}".rstrip()


def bins(counts: np.ndarray, most: int = BINS) -> tuple[np.ndarray, np.ndarray]:
    """(how many, whole-number edges): up to ``most`` ranges from 0 to beyond the largest."""
    step = max(1, -(-(int(counts.max()) + 1) // most))
    edges = np.arange(0, int(counts.max()) + step + 1, step)
    return np.histogram(counts, edges)[0], edges


def ceil_share(number: int, largest: int) -> int:
    """Of what there is something, something is seen."""
    return -(-int(number) * WIDTH // int(largest)) if number else 0
