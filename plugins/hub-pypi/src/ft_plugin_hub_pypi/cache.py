"""Where models of packages are kept: ``NAME/VERSION/`` for the model, ``NAME/VERSION.json`` for what it came from.

The record stays when a user deletes the model's folder, so that the hash of the first download goes on being compared.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from .spec import PypiSpec

PARTIAL = ".partial-"


def root(given: str | None) -> Path:
    if given:
        return Path(given).expanduser()
    if ours := os.environ.get("FTK_CACHE"):
        return Path(ours).expanduser() / "pypi"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ftk" / "pypi"


class Shelf:
    """The cached versions of one package."""

    def __init__(self, cache: Path, name: str) -> None:
        self.folder = cache / name

    def find(self, spec: PypiSpec) -> str | None:
        """The version that ``spec`` means, if its model is here; the newest of several."""
        names = [p.name for p in self.folder.iterdir() if p.is_dir()] if self.folder.is_dir() else []
        here = [name for name in names if self.record(name).get("sha256") and not name.startswith(".")]
        if spec.version:
            here = [name for name in here if _order(name) == _order(spec.version)]
        if spec.sha256:
            here = [name for name in here if self.record(name)["sha256"] == spec.sha256]
        return max(here, key=_order, default=None)

    def path(self, version: str) -> Path:
        return self.folder / version

    def record(self, version: str) -> dict[str, Any]:
        try:
            record = json.loads((self.folder / f"{version}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def put(self, version: str, model: Path, record: dict[str, Any]) -> Path:
        """Move a finished model folder here. The record first: without the folder it only means a new download."""
        draft = self.folder / f"{PARTIAL}{version}.json"
        draft.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        os.replace(draft, self.folder / f"{version}.json")
        os.replace(model, self.path(version))
        return self.path(version)

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """An empty folder on the cache's file system. What a killed run left of one is removed; hold the lock."""
        for left in self.folder.glob(f"{PARTIAL}*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        work = self.folder / f"{PARTIAL}{os.getpid()}"
        work.mkdir()
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _order(version: str) -> Version:
    try:
        return Version(version)
    except InvalidVersion:
        return Version("0")  # nothing that pip fetched
