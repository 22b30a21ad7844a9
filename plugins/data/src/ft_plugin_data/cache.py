"""Encoded datasets in the user's cache, so that an unchanged run starts at once.

A dataset is known by everything it was made of, the code included; nothing is ever out of date. Entries that no run
has used for a month are removed.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache as once
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

from ftk import lock
from ftk.problems import RunError

from .ledger import Ledger
from .spill import mapped

try:
    import fcntl
except ImportError:  # Windows: two runs may then encode the same data, and one of them keeps it
    fcntl = None  # type: ignore[assignment]

MADE = "made.json"
MONTH = 30 * 24 * 3600
LIBRARIES = ("datasets", "jinja2", "pyarrow", "tokenizers", "transformers")
"""Libraries on which the ids of a text may depend."""

Encoded = tuple[pa.Table | None, Ledger]


def root() -> Path:
    """``data`` in FTK_CACHE, or ``ftk/data`` in the user's cache."""
    if base := os.environ.get("FTK_CACHE"):
        return Path(base).expanduser() / "data"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ftk" / "data"


def key_of(identity: Mapping[str, Any], *parts: Any) -> str:
    """``parts``: the objects that make the data: formatter, encoder, template."""
    packages = {_package(module.__name__) for part in parts for module in _modules(part)}
    code = {name: package_code(name) for name in sorted(packages | {"ft_plugin_data", "ft_plugin_source_local"})}
    return lock.fingerprint([identity, code, {name: version(name) for name in LIBRARIES}])


def _modules(part: Any) -> Iterator[Any]:
    function = inspect.unwrap(getattr(part, "func", part))
    owners = [function] if inspect.isroutine(function) else [c for c in type(part).__mro__ if c is not object]
    yield from filter(None, map(inspect.getmodule, owners))


def _package(name: str) -> str:
    """The outermost package of a module that is no mere namespace, or the module itself."""
    parts = name.split(".")
    names = (".".join(parts[: n + 1]) for n in range(len(parts)))
    return next((outer for outer in names if getattr(sys.modules.get(outer), "__file__", None)), name)


@once
def package_code(name: str) -> str:
    """A hash of the sources of a package, or of a single module."""
    module = sys.modules.get(name) or importlib.import_module(name)
    digest = hashlib.sha256()
    for folder in getattr(module, "__path__", ()):
        for path in sorted(Path(folder).rglob("*")):
            if path.suffix in (".py", ".toml", ".jinja"):
                digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    if getattr(module, "__file__", None):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:16]


def load(key: str, name: str) -> Encoded | None:
    """The dataset that was kept under the key, or ``None``."""
    folder = root() / key
    try:
        ledger = Ledger.from_dict(json.loads((folder / MADE).read_text(encoding="utf-8")) | {"name": name})
        data = mapped(folder, name)
        with suppress(OSError):
            os.utime(folder)
        return data, ledger
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None


@contextmanager
def making(key: str) -> Iterator[Path]:
    """An empty folder to be filled, for ``keep``. Other processes wait, to find what this one has made."""
    folder = None
    try:
        root().mkdir(parents=True, exist_ok=True)
        with _locked(root() / f".{key}.lock"):
            folder = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=root()))
            yield folder
    except OSError as e:
        hint = "make room, or set FTK_CACHE to another folder"
        raise RunError(f"cannot write to the cache {root()}: {e.strerror or e}", hint) from e
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    if fcntl is None:
        yield
        return
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def keep(folder: Path, key: str, ledger: Ledger) -> Encoded:
    """Publish what is in the folder, whole or not at all, in place of an earlier one."""
    lock.write_json(folder / MADE, ledger.as_dict())
    final = root() / key
    old = final.with_name(f"{folder.name}.old")
    with suppress(FileNotFoundError):
        os.replace(final, old)
    os.replace(folder, final)
    shutil.rmtree(old, ignore_errors=True)
    _forget_unused()
    return mapped(final, ledger.name), ledger


def _forget_unused() -> None:
    for folder in root().iterdir():
        with suppress(OSError):
            if folder.is_dir() and time.time() - folder.stat().st_mtime > MONTH:
                shutil.rmtree(folder, ignore_errors=True)
