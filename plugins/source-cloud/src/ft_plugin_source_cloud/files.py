"""Files at an address, fetched and read as local ones."""

from __future__ import annotations

import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from datasets import Dataset
from datasets.table import InMemoryTable

from ft_plugin_data.opening import sha256
from ft_plugin_source_local.files import TYPES, data_files
from ft_plugin_source_local.source import read_files
from ftk import lock
from ftk.markers import hookimpl
from ftk.problems import RunError

ANONYMOUS: dict[str, dict[str, Any]] = {
    "s3": {"anon": True},
    "s3a": {"anon": True},
    "gs": {"token": "anon"},
    "gcs": {"token": "anon"},
    "az": {"anon": True},
    "abfs": {"anon": True},
}
"""What lets a protocol read without credentials."""


class CloudSource:
    @hookimpl
    def ftk_open_source(self, spec) -> Dataset:
        if spec.split != "train":
            raise RunError(f"{spec.name}: split {spec.split!r}: files have no splits", "name the file itself")
        with tempfile.TemporaryDirectory(prefix="ftk-") as folder:
            target = fetched(spec.location, Path(folder))
            try:
                files = data_files(target)
                table = read_files(files)
            except RunError as e:
                raise RunError(e.message.replace(str(target), spec.location), e.hint) from None
            return Dataset(InMemoryTable(table), fingerprint=lock.fingerprint([sha256(path) for path in files]))


def fetched(address: str, folder: Path) -> Path:
    """A file or folder with what is at the address. Raises RunError."""
    protocol = address.partition("://")[0]
    tries = [{}, ANONYMOUS[protocol]] if protocol in ANONYMOUS else [{}]
    for number, options in enumerate(tries, 1):
        try:
            return _fetch(*fsspec.core.url_to_fs(address, **options), folder)
        except FileNotFoundError as e:
            raise RunError(f"{address}: there is no such file", "check the address") from e
        except (ImportError, ValueError) as e:  # a protocol that nobody knows, or whose package is not there
            raise RunError(f"{address} cannot be read: {_first_line(e)}", "check the address") from e
        except RunError:
            raise
        except Exception as e:  # every protocol has exceptions of its own
            if number == len(tries):
                hint = "check the address, the connection and the credentials"
                raise RunError(f"{address} cannot be read: {_first_line(e)}", hint) from e
    raise AssertionError("unreachable")


def _fetch(system: fsspec.AbstractFileSystem, path: str, folder: Path) -> Path:
    if PurePosixPath(path.partition("?")[0]).suffix.lower() in TYPES or not system.isdir(path):
        local = folder / (PurePosixPath(path.partition("?")[0]).name or "data")
        system.get_file(path, str(local))
        return local
    for found in sorted(system.ls(path, detail=False)):
        name = PurePosixPath(found).name
        if PurePosixPath(name).suffix.lower() in TYPES and not name.startswith("."):
            system.get_file(found, str(folder / name))
    return folder


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
