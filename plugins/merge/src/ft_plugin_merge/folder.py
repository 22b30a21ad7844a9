"""A folder that is written whole or not at all. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

MARK = "ftk_export.json"
"""Says that a folder is an export of ours, what it was made from, and which files belong to it."""


def obstacle(folder: str | Path, sources: Sequence[str | Path], *, overwrite: bool) -> tuple[str, str] | None:
    """Why the folder must not be written, and what to do; ``None`` when it may.

    sources  models and adapters that the export is made from, as the config names them
    """
    folder = Path(folder).expanduser().resolve()
    for source in sources:
        path = Path(source).expanduser().resolve()
        if path == folder or (folder.exists() and folder in path.parents and path.exists()):
            message = f"export_dir {str(folder)!r} is, or holds, {str(source)!r}, which the export is made from"
            return message, "choose another export_dir"
    if folder.exists() and not folder.is_dir():
        return f"export_dir {str(folder)!r} is a file", "choose another export_dir"
    if overwrite or not folder.is_dir() or not any(folder.iterdir()) or is_ours(folder):
        return None
    message = f"export_dir {str(folder)!r} holds files that no export wrote"
    return message, "choose another export_dir, or set overwrite_output_dir: true to put an export in its place"


def is_ours(folder: Path) -> bool:
    """Whether the folder is an earlier export, and holds nothing else."""
    try:
        files = set(json.loads((folder / MARK).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return all(path.name in files or path.name == MARK for path in folder.iterdir())


def mark(folder: Path, facts: Mapping[str, Any]) -> None:
    """Note in the folder what it is. Files that are added later need another call."""
    files = sorted(path.name for path in folder.iterdir() if path.name != MARK)
    text = json.dumps({**facts, "files": files}, indent=2, ensure_ascii=False)
    (folder / MARK).write_text(text + "\n", encoding="utf-8")


@contextlib.contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A new folder beside ``folder`` that takes its place when the block ends well, and vanishes when it does not.

    An earlier export that was there is deleted; anything else is kept beside it, under a name with ``.replaced``.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        yield staging
        _open_to_others(staging)
        old = _moved_aside(folder)
        try:
            staging.rename(folder)
        except OSError:
            if old is not None:
                old.rename(folder)
            raise
        if old is not None and is_ours(old):
            shutil.rmtree(old)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _moved_aside(folder: Path) -> Path | None:
    if not folder.exists():
        return None
    if not any(folder.iterdir()):
        folder.rmdir()
        return None
    n = 1
    while (aside := folder.with_name(f"{folder.name}.replaced{'' if n == 1 else f'-{n}'}")).exists():
        n += 1
    return folder.rename(aside)


def _open_to_others(folder: Path) -> None:
    """Temporary folders and files of safetensors are for one user only; an export is like any other folder."""
    mask = os.umask(0)
    os.umask(mask)
    folder.chmod(0o777 & ~mask)
    for path in folder.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)
