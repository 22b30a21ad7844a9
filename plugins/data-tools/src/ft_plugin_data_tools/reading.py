"""Datasets opened without a model: their sources and formats, and nothing else of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ft_plugin_data.opening import Opened, open_one
from ft_plugin_data.registry import Unusable, find
from ft_plugin_data.rows import rows_of
from ft_plugin_source_local.table import AT
from ftk.compose import compose
from ftk.contracts import DatasetSpec, Encoded, Example
from ftk.discover import Installed, discover
from ftk.plan import resolve_plan
from ftk.problems import ConfigError, RowError
from ftk.run import Run

BATCH = 1000
"""Rows in memory as Python objects at a time."""


def open_datasets(
    names: Sequence[str], dataset_dir: str, described: Mapping[str, Any] | None = None
) -> tuple[Run, list[Opened]]:
    """The datasets, ready to be read, and the run that opened them.

    described  fields of ``DatasetSpec`` that say how rows are read, in place of what the columns suggest
    Raises ConfigError for a name that means nothing, and RunError for data that cannot be read.
    """
    installed = discover()
    specs = [_described(name, dataset_dir, described or {}) for name in names]
    run = _run(specs, installed)
    if not described:
        return run, [open_one(run, name, dataset_dir, streaming=False) for name in names]
    opened = []
    for spec in specs:
        rows = run.open_source(spec)
        opened.append(Opened(spec=spec, rows=rows, columns=rows.column_names, formatter=run.formatter(spec)))
    return run, opened


def _described(name: str, dataset_dir: str, described: Mapping[str, Any]) -> DatasetSpec:
    path = Path(name).expanduser()
    if described and path.exists():
        return replace(DatasetSpec(name=name, source="local", location=str(path), formatting=""), **described)
    try:
        return replace(find(name, dataset_dir), **described)
    except Unusable as e:
        raise ConfigError([replace(e.problem, level="error")]) from None


def _run(specs: Sequence[DatasetSpec], installed: Installed) -> Run:
    """A run of every format that is installed, where the data has yet to tell its own."""
    formats = [c.name for c in installed.offered().values() if c.kind == "format"]
    wanted = [f"source:{spec.source}" for spec in specs]
    wanted += [f"format:{name}" for spec in specs for name in ([spec.formatting] if spec.formatting else formats)]
    config, warnings = compose({}, installed.index, installed.aliases())
    components = list(dict.fromkeys([*wanted, *(f"format:{name}" for name in formats)]))
    return Run(resolve_plan(config, installed, "train", components=components, warnings=warnings))


def rows_of_data(opened: Opened, title: str) -> Iterator[tuple[list[dict[str, Any]], range]]:
    """Some rows at a time, and their numbers, from 1; a bar says how far it is."""
    data, done = opened.rows.with_format("arrow"), 0
    with tqdm(total=len(opened.rows), desc=title, unit=" rows", disable=None, leave=False) as bar:
        for table in data.iter(BATCH):
            yield rows_of(table), range(done + 1, done + table.num_rows + 1)
            done += table.num_rows
            bar.update(table.num_rows)


def examples_of(opened: Opened, title: str) -> Iterator[tuple[str, Example | RowError]]:
    """Where each row stands, and what its format makes of it."""
    for rows, numbers in rows_of_data(opened, title):
        for row, number in zip(rows, numbers, strict=True):
            place = row.pop(AT, None) or f"{opened.spec.name} row {number}"
            try:
                yield place, opened.formatter(row)
            except RowError as e:
                yield place, e


def kind_of(example: Example) -> str:
    """What a row is good for, in words."""
    if example.chosen or example.rejected:
        return "pairs"
    if example.text is not None:
        return "prompts" if example.messages else "texts"
    return "conversations" if example.desirable is None else "conversations with a verdict"


class Nothing:
    """An encoder that takes every example and makes nothing of it: for data that no stage is to see."""

    fingerprint = ""
    reads_media = True

    def encode(self, examples: Sequence[Example]) -> list[list[Encoded] | RowError]:
        return [[Encoded({"kind": kind_of(example)})] for example in examples]

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {}
