"""Opening datasets: descriptions completed by what the data holds, and fingerprints of what was read."""

from __future__ import annotations

import hashlib
import inspect
import os
import pickle
from collections.abc import Callable, Mapping, Sequence
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

Data = Dataset | IterableDataset


class Opened:
    """A dataset that is ready to be read. Local files whose format is known are read when their rows are asked for."""

    def __init__(
        self,
        *,
        spec: DatasetSpec,
        formatter: Formatter,
        rows: Data | Callable[[], Data],
        columns: Sequence[str] | None = None,
        files: Mapping[str, str] | None = None,
    ) -> None:
        self.spec, self.formatter = spec, formatter
        self.files = dict(files or {})
        """Path of each local file -> sha256 of its bytes."""
        self._rows, self._columns = rows, columns

    @property
    def rows(self) -> Data:
        if not isinstance(self._rows, (Dataset, IterableDataset)):
            self._rows = self._rows()
        return self._rows

    @property
    def columns(self) -> Sequence[str]:
        return columns_of(self.rows) if self._columns is None else self._columns

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
    def read() -> Data:
        return _as_wanted(name, run.open_source(spec), streaming=streaming)

    try:
        spec = find(name, dataset_dir)
        if spec.source == "local" and spec.formatting:
            files = {str(path): sha256(path) for path in data_files(Path(spec.location))}
            return Opened(spec=spec, rows=read, formatter=run.formatter(spec), files=files)
        data = read()
        columns = columns_of(data)
        spec = guessed(spec, [column for column in columns if column != AT])
    except Unusable as e:
        raise RunError(e.problem.message, e.problem.hint) from None
    files = {str(path): sha256(path) for path in data_files(Path(spec.location))} if spec.source == "local" else {}
    return Opened(spec=spec, rows=data, columns=columns, formatter=run.formatter(spec), files=files)


def columns_of(data: Data) -> list[str]:
    """Names of the columns; a stream may only know them once it flows."""
    return data.column_names or list(next(iter(data), {}))


def _as_wanted(name: str, data: object, *, streaming: bool) -> Data:
    if isinstance(data, Dataset):
        return data
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
