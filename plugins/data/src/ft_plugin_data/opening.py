"""Opening datasets: descriptions completed by what the data holds, and fingerprints of what was read."""

from __future__ import annotations

import hashlib
import inspect
import os
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset, IterableDataset

from ft_plugin_source_local.files import data_files
from ft_plugin_source_local.table import AT
from ftk.contracts import DatasetSpec, Formatter
from ftk.problems import RunError

from . import roles, rows
from .registry import Unusable, find, guessed


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A dataset that is ready to be read."""

    spec: DatasetSpec
    rows: Dataset | IterableDataset
    columns: Sequence[str]
    formatter: Formatter
    files: dict[str, str] = field(default_factory=dict)
    """Path of each local file -> sha256 of its bytes."""

    def identity(self) -> dict[str, Any]:
        """What the rows depend on; equal identities give equal rows."""
        data: object = list(self.files.values()) or getattr(self.rows, "_fingerprint", "")
        return {"data": data, "num_samples": self.spec.num_samples, "format": code_fingerprint(self.formatter)}

    def record(self) -> dict[str, Any]:
        """For the run's plan: where the rows came from."""
        place = {"source": self.spec.source, "location": self.spec.location, "revision": self.spec.revision}
        return {key: value for key, value in place.items() if value} | ({"sha256": self.files} if self.files else {})


def open_all(run, names: Sequence[str], dataset_dir: str, *, streaming: bool) -> list[Opened]:
    """The named datasets, in order. Raises RunError."""
    return [open_one(run, name, dataset_dir, streaming=streaming) for name in names]


def open_one(run, name: str, dataset_dir: str, *, streaming: bool) -> Opened:
    try:
        spec = find(name, dataset_dir)
        data = _as_wanted(name, run.open_source(spec), streaming=streaming)
        columns = data.column_names or list(next(iter(data), {}))  # a stream may only know them once it flows
        spec = guessed(spec, [column for column in columns if column != AT])
    except Unusable as e:
        raise RunError(e.problem.message, e.problem.hint) from None
    files = {str(path): sha256(path) for path in data_files(Path(spec.location))} if spec.source == "local" else {}
    return Opened(spec=spec, rows=data, columns=columns, formatter=run.formatter(spec), files=files)


def _as_wanted(name: str, data: object, *, streaming: bool) -> Dataset | IterableDataset:
    if isinstance(data, Dataset):
        return data.to_iterable_dataset() if streaming else data
    if isinstance(data, IterableDataset) and streaming:
        return data
    hint = "set streaming: true and max_steps" if isinstance(data, IterableDataset) else "name one of its splits"
    raise RunError(f"dataset {name!r}: its source gave a {type(data).__name__}, not a Dataset", hint)


def sha256(path: Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def code_fingerprint(formatter: Callable) -> str:
    """Changes when the formatter's code, its arguments or the code that every format shares changes."""
    function: Any = formatter
    while isinstance(function, partial):
        function = function.func
    digest = hashlib.sha256(pickle.dumps(formatter))
    for module in (inspect.getmodule(function), roles, rows):
        path = getattr(module, "__file__", None)
        digest.update(Path(path).read_bytes() if path and os.path.exists(path) else b"")
    return digest.hexdigest()[:16]
