"""``ftk data convert``: rows of any format written in another, each read back before it counts."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import typer

from ft_plugin_data.guess import guess_format
from ft_plugin_data.ledger import Ledger
from ft_plugin_data.limits import drop_limit
from ft_plugin_data.opening import Opened
from ft_plugin_data.registry import INFO
from ftk.contracts import DatasetSpec, Example, Formatter, Message
from ftk.problems import ConfigError, RowError, RunError
from ftk.run import Run

from .reading import examples_of, kind_of, open_datasets
from .whole import written_whole
from .writing import Writer, writer_named

VERDICT = "conversations with a verdict"


@dataclass(frozen=True, slots=True)
class Survey:
    """What all rows have in common, which must be known before the first is written."""

    kind: str
    others: frozenset[str]
    """Columns without a role."""


def convert(
    inputs: Sequence[str],
    *,
    to: str,
    output: Path | None,
    force: bool,
    registry: bool,
    dataset_dir: str,
    max_drop: str,
    described: Mapping[str, Any],
) -> None:
    """Raises ConfigError or RunError; then nothing is written."""
    if output is not None and output.exists() and not force:
        raise ConfigError.single(f"{output} exists", "give another --output, or --force")
    chosen = writer_named(to)
    run, opened = open_datasets(inputs, dataset_dir, described)
    survey = survey_of(opened)
    writer = chosen(survey.kind, survey.others)
    with _file(output) as file:
        ledgers = [_write(each, writer, reader_of(run, writer), file) for each in opened]
        _check(ledgers, max_drop)
    _tell(ledgers, writer, survey, output, registry)


def survey_of(opened: Sequence[Opened]) -> Survey:
    """Raises RunError where rows are of kinds that no file can hold together."""
    kinds: Counter[str] = Counter()
    others: set[str] = set()
    for each in opened:
        for _, example in examples_of(each, f"{each.spec.name}: reading"):
            if isinstance(example, Example):
                kinds[kind_of(example)] += 1
                others |= example.columns.keys()
    if VERDICT in kinds:  # verdicts may be missing: such a row is read as one without
        kinds["conversations"] += kinds.pop(VERDICT)
    if len(kinds) > 1:
        found = " and ".join(f"{n:,} {kind}" for kind, n in kinds.most_common())
        raise RunError(f"the data holds {found}, which cannot be in one file", "convert one kind at a time")
    return Survey(next(iter(kinds), "conversations"), frozenset(others))


def reader_of(run: Run, writer: Writer) -> Formatter:
    """What reads the writer's rows."""
    entry = {"columns": {}, "ranking": False, **writer.entry}
    return run.formatter(DatasetSpec(name="what is written", source="local", location="", **entry))


def converted(example: Example, writer: Writer, read: Formatter) -> str:
    """The example as a line of JSON that is read as the same example. Raises RowError."""
    row = writer.row(example)
    try:
        line = json.dumps(row, ensure_ascii=False)
    except (TypeError, ValueError) as e:
        raise RowError(f"cannot be written as JSON: {e}") from None
    try:
        again = read(json.loads(line))
    except RowError as e:
        raise RowError(f"written, it could not be read again: {e}") from None
    if again != example:
        raise RowError("written, it would be read as another example")
    return line


def _write(opened: Opened, writer: Writer, read: Formatter, file: IO[str]) -> Ledger:
    ledger = Ledger(opened.spec.name)
    for place, example in examples_of(opened, f"{opened.spec.name}: writing"):
        try:
            if isinstance(example, RowError):
                raise example
            file.write(converted(example, writer, read) + "\n")
            ledger.keep(1, 0)
        except RowError as e:
            ledger.drop(str(e), place)
    return ledger


def _check(ledgers: Sequence[Ledger], max_drop: str) -> None:
    for ledger in ledgers:
        if ledger.dropped > (drop_limit(max_drop, ledger.rows) or 0) or not ledger.kept:
            _show(ledgers)
            message = f"{ledger.name}: {ledger.dropped:,} of {ledger.rows:,} rows cannot be converted"
            raise RunError(f"{message}; nothing was written", "repair them, or leave them out with --max-drop 1%")


def _show(ledgers: Sequence[Ledger]) -> None:
    for ledger in ledgers:
        for reason in ledger.commonest():
            more = ", ..." if reason.rows > len(reason.places) else ""
            typer.echo(f"{reason.rows:,} rows: {reason.text} ({', '.join(reason.places)}{more})", err=True)


def _tell(ledgers: Sequence[Ledger], writer: Writer, survey: Survey, output: Path | None, registry: bool) -> None:
    _show(ledgers)
    kept = sum(ledger.kept for ledger in ledgers)
    if output is not None:
        typer.echo(f"wrote {output}: {kept:,} {survey.kind}", err=True)
    name = output.stem if output is not None else "converted"
    entry = {name: {"file_name": output.name if output is not None else "converted.jsonl", **writer.entry}}
    if registry:
        typer.echo(json.dumps(entry, indent=2, ensure_ascii=False), err=output is None)
    elif not _speaks_for_itself(writer, survey):
        text = json.dumps(entry, ensure_ascii=False)
        typer.echo(f"its columns do not tell how it is read; put into {INFO}: {text}", err=True)


def _speaks_for_itself(writer: Writer, survey: Survey) -> bool:
    """Whether the columns of what was written are guessed to be what they are."""
    row = writer.row(_sample(survey.kind))
    guess = guess_format([*row, *survey.others])
    entry = {"columns": {}, "ranking": False, **writer.entry}
    return guess is not None and {**guess._asdict(), "columns": dict(guess.columns)} == entry


def _sample(kind: str) -> Example:
    answer: list[Message] = [{"role": "assistant", "content": "x"}]
    question: list[Message] = [{"role": "user", "content": "x"}]
    if kind in ("texts", "prompts"):
        return Example(text="x", messages=question if kind == "prompts" else ())
    if kind == "pairs":
        return Example(messages=question, chosen=answer, rejected=answer)
    return Example(messages=[*question, *answer])


@contextlib.contextmanager
def _file(output: Path | None) -> Iterator[IO[str]]:
    """Where rows go: to the output, or to stdout, once all are there."""
    if output is not None:
        with written_whole(output) as path, open(path, "w", encoding="utf-8") as file:
            yield file
        return
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        yield file
        file.seek(0)
        shutil.copyfileobj(file, sys.stdout)
