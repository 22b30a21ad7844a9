"""Which files a location means, and of what type they are. Standard library only: plans read it too."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from ftk.problems import RunError

from .text import read_csv, read_json, read_txt

TYPES = {
    ".json": "json",
    ".jsonl": "json",
    ".csv": "csv",
    ".txt": "txt",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
"""Suffix -> type. json and jsonl are one type, told apart by what is in the file."""

READERS = {"json": read_json, "csv": read_csv, "txt": read_txt}


def file_type(path: Path) -> str:
    try:
        return TYPES[path.suffix.lower()]
    except KeyError:
        raise RunError(f"{path}: unknown file type {path.suffix!r}", f"use one of {', '.join(TYPES)}") from None


def data_files(location: Path) -> list[Path]:
    """The files that a path means: itself, or those of a folder, sorted by name.

    Of a folder that ``Dataset.save_to_disk`` wrote only the arrow files count. Other folders may hold data files of
    one type only; hidden files, sub-folders and files that are no data (a README) do not count.
    Raises RunError when there is nothing to read.
    """
    if not location.exists():
        raise RunError(f"{location}: no such file or folder", "check dataset_dir and the file's name")
    if location.is_file():
        file_type(location)
        return [location]
    if (location / "dataset_dict.json").exists():
        raise RunError(f"{location}: holds several splits", f"name one of them, such as {location / 'train'}")
    files = sorted(p for p in location.iterdir() if p.is_file() and not p.name.startswith("."))
    if (location / "state.json").exists():
        return [p for p in files if p.suffix == ".arrow"]
    files = [p for p in files if p.suffix.lower() in TYPES]
    if not files:
        raise RunError(f"{location}: no data files in this folder", f"ftk reads {', '.join(TYPES)}, not sub-folders")
    types = {file_type(p): p.name for p in files}
    if len(types) > 1:
        named = " and ".join(f"{kind} ({name})" for kind, name in types.items())
        raise RunError(f"{location}: holds files of several types: {named}", "keep files of one type in a folder")
    return files


def first_columns(location: Path, rows: int = 20) -> list[str] | None:
    """Names of the columns in the first rows; ``None`` for types that cannot be read without pyarrow.

    Reads no more than those rows, except of a JSON list, which is read as text. Raises RunError for broken files.
    """
    path = data_files(location)[0]
    reader = READERS.get(file_type(path))
    if reader is None:
        return None
    return list(dict.fromkeys(name for _, row in islice(reader(path), rows) for name in row))
