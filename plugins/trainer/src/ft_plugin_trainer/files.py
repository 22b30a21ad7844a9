"""Folders and files that are on the disk whole or not at all, whenever the process is killed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path

INCOMPLETE = ".incomplete-"
"""What the name of a folder begins with while it is written or deleted. The next start removes it."""


def staging_of(final: Path) -> Path:
    """Where to write what shall become ``final``: beside it, so that a rename is enough."""
    return final.with_name(f"{INCOMPLETE}{final.name}")


def publish(staging: Path, final: Path) -> None:
    """Give a finished folder its name, once everything in it is on the disk. An older folder of that name goes."""
    sync_tree(staging)
    if final.exists():
        discard(final)
    os.rename(staging, final)
    sync(final.parent)


def publish_files(staging: Path, folder: Path, *, markers: Collection[str]) -> None:
    """Move a folder's files into another one, replacing those of the same names.

    markers  names of the files by which readers recognise that the others are there: gone first, put in place last
    """
    sync_tree(staging)
    names = sorted(p.name for p in staging.iterdir())
    for name in markers:
        (folder / name).unlink(missing_ok=True)
    sync(folder)
    for name in sorted(names, key=lambda name: name in markers):
        if (folder / name).is_dir():
            discard(folder / name)
        os.replace(staging / name, folder / name)
    sync(folder)
    staging.rmdir()


def discard(folder: Path) -> None:
    """Delete a folder in such a way that a half-deleted one is never taken for a whole one."""
    doomed = folder.with_name(f"{INCOMPLETE}deleted-{folder.name}")
    shutil.rmtree(doomed, ignore_errors=True)
    os.rename(folder, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def remove_incomplete(folder: Path) -> list[str]:
    """Remove what an interrupted run left half-written or half-deleted. Returns the names."""
    left = sorted(p for p in folder.glob(f"{INCOMPLETE}*") if p.is_dir())
    for path in left:
        shutil.rmtree(path)
    return [p.name.removeprefix(INCOMPLETE) for p in left]


def replace_text(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}")
    partial.write_text(text, encoding="utf-8")
    sync(partial)
    os.replace(partial, path)


def sync_tree(folder: Path) -> None:
    """Flush every file of a folder, and the folder, to the disk."""
    for root, _, names in os.walk(folder):
        for name in names:
            sync(Path(root, name))
        sync(Path(root))


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
