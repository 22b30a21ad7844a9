"""``ftk data show``: rows as the model gets them."""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from ftk.cli.options import print_json
from ftk.problems import RunError

from .opening import load_split, looked_at
from .page import page
from .terminal import Style, every_token, legend, spans
from .tokens import TokenRow, sequences_of
from .whole import written_whole


@dataclass(frozen=True, slots=True)
class Drawn:
    """A row of the data, as the collator makes it."""

    split: str
    number: int
    """From 0, in the order of the data after mixing, splitting and packing."""
    total: int | None
    """Rows there are; ``None`` for a stream."""
    sequences: list[TokenRow]

    def title(self, sequence: TokenRow) -> str:
        name = f", {sequence.name.strip('_')}" if sequence.name else ""
        if len(self.sequences) > 1 and not name:
            name = f", sequence {self.sequences.index(sequence) + 1} of {len(self.sequences)}"
        parts = [f"{sequence.real} tokens", f"{sequence.trained} with loss"]
        documents = {part for part in sequence.parts if part.startswith("document ")}
        parts += [f"{len(documents)} documents"] if documents else []
        parts += [f"{len(sequence) - sequence.real} of padding"] if sequence.real < len(sequence) else []
        of = f" of {self.total}" if self.total is not None else ""
        return f"{self.split} row {self.number}{of}{name}: {', '.join(parts)}"


def show(
    config: str,
    overrides: Sequence[str] | None,
    *,
    rows: int,
    numbers: Sequence[int] | None,
    split: str,
    tokens: bool,
    html: Path | None,
    as_json: bool,
    step: str | None = None,
) -> None:
    with looked_at(config, overrides, step=step) as run:
        tokenizer = run.load_tokenizer()
        encoder = run.encoder(tokenizer, run.load_template(tokenizer))
        collate, drawn = encoder.collate, []
        segments = getattr(collate, "segments", ())
        for title, data in load_split(run, split, encoder).items():
            for number, total, row in _draw(data, rows, numbers, run.seed, title):
                drawn.append(Drawn(title, number, total, list(sequences_of(collate([row]), tokenizer, segments))))
    if not any(row.sequences for row in drawn):
        raise RunError("the collator of this stage gives no input_ids", "there is nothing to show token by token")
    if html is not None:
        with written_whole(html) as file:
            file.write_text(page([(row.title(s), s) for row in drawn for s in row.sequences]), encoding="utf-8")
        typer.echo(f"wrote {html}", err=as_json)
    if as_json:
        print_json([_as_json(row) for row in drawn])
    elif html is None:
        _print(drawn, tokens)


def _draw(
    data: Any, count: int, numbers: Sequence[int] | None, seed: int, title: str
) -> Iterator[tuple[int, int | None, Any]]:
    """(number, how many there are, row). Raises RunError for a number that there is not."""
    try:
        total = len(data)
    except TypeError:  # a stream: its first rows
        wanted = set(numbers if numbers is not None else range(count))
        stream = enumerate(itertools.islice(data, max(wanted) + 1))
        yield from ((number, None, row) for number, row in stream if number in wanted)
        return
    if numbers is None:
        numbers = sorted(random.Random(seed).sample(range(total), min(count, total)))
    for number in numbers:
        if number >= total:
            raise RunError(f"row {number}: {title} has {total} rows", f"numbers go from 0 to {total - 1}")
        yield number, total, data[number]


def _print(drawn: Sequence[Drawn], tokens: bool) -> None:
    style = Style.of(sys.stdout)
    for row in drawn:
        for sequence in row.sequences:
            typer.echo(style.heading(row.title(sequence)), color=True)
            for line in (every_token if tokens else spans)(sequence, style):
                typer.echo(line, color=True)
            typer.echo()
    typer.echo(legend(style), color=True)


def _as_json(row: Drawn) -> dict[str, Any]:
    sequences = [
        {
            "name": s.name,
            "columns": s.columns,
            "facts": s.facts,
            "text": s.text,
            "weight": s.weights,
            "control": s.control,
            "padding": s.padding,
            "part": s.parts,
        }
        for s in row.sequences
    ]
    return {"split": row.split, "row": row.number, "of": row.total, "sequences": sequences}
