"""From a dataset's name in the config to its description: ``dataset_info.json``, paths and hub ids.

Plans read this too: standard library only, and of a data file no more than its first rows.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ft_plugin_source_local.files import TYPES, data_files, first_columns
from ftk.contracts import DatasetSpec
from ftk.problems import Origin, Problem, RunError

from .guess import guess_format

INFO = "dataset_info.json"
PLACES = {
    "hf_hub_url": "hf",
    "ms_hub_url": "modelscope",
    "om_hub_url": "openmind",
    "cloud_file_name": "cloud",
    "file_name": "local",
}
"""Key that says where the rows are -> source component. The first one present counts, but for ``preferred_hub``."""
HUBS = {"USE_MODELSCOPE_HUB": "ms_hub_url", "USE_OPENMIND_HUB": "om_hub_url"}
"""Variable that makes another hub the usual one -> its key. The names are LLaMA-Factory's."""
OTHER_KEYS = {"formatting", "ranking", "subset", "split", "folder", "num_samples", "columns", "tags", "revision"}
TYPES_OF_KEYS = {str: ("formatting", "subset", "split", "folder", "revision", *PLACES), dict: ("columns", "tags")}
SOURCE = re.compile(r"([a-z][a-z0-9-]*):(.+)")
"""``NAME:location``: any ``source`` component by its name."""
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


class Unusable(Exception):
    """A dataset that cannot be had, and why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Registry:
    """A ``dataset_info.json``."""

    path: Path
    entries: Mapping[str, Any]
    text: str

    def origin(self, name: str) -> Origin:
        found = re.search(rf"^[^\S\n]*{re.escape(json.dumps(name))}\s*:", self.text, re.MULTILINE)
        return Origin(str(self.path), self.text.count("\n", 0, found.start()) + 1 if found else None)


def find(name: str, dataset_dir: str) -> DatasetSpec:
    """The description of a dataset. Raises Unusable.

    A description without ``formatting`` is of data whose columns only the run can see.
    """
    if "://" in name:
        return DatasetSpec(name=name, source="cloud", location=name, formatting="")
    if name.startswith("hf:"):
        return DatasetSpec(name=name, source="hf", location=name[3:], formatting="")
    if dataset_dir == "ONLINE":
        source, _, location = name.rpartition(":")
        return DatasetSpec(name=name, source=source or PLACES[preferred_hub()], location=location, formatting="")
    registry = read_registry(dataset_dir)
    if registry is not None and name in registry.entries:
        return _spec(name, registry)
    for path in (Path(name).expanduser(), Path(dataset_dir) / name):
        if path.exists():
            return _direct(name, path)
    if found := SOURCE.fullmatch(name):
        return DatasetSpec(name=name, source=found[1], location=found[2], formatting="")
    if Path(name).suffix.lower() in TYPES or name.startswith(("/", "./", "../", "~")):
        raise Unusable(Problem("missing", f"dataset {name!r}: no such file or folder", "check the path"))
    if HUB_ID.fullmatch(name):
        return DatasetSpec(name=name, source=PLACES[preferred_hub()], location=name, formatting="")
    raise Unusable(_unknown(name, dataset_dir, registry))


def preferred_hub() -> str:
    """The key of the hub that ids without a prefix are of, and that counts where an entry names several."""
    return next(
        (key for name, key in HUBS.items() if os.environ.get(name, "").lower() in ("true", "y", "1")), "hf_hub_url"
    )


def _unknown(name: str, dataset_dir: str, registry: Registry | None) -> Problem:
    if registry is None:
        hint = f"put {INFO} there, set dataset_dir, or name a file, a folder or hf:org/name"
        return Problem("missing", f"dataset {name!r}: there is no {INFO} in dataset_dir {dataset_dir!r}", hint)
    near = difflib.get_close_matches(name, registry.entries, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "describe it there, or name a file, a folder or hf:org/name"
    return Problem("error", f"dataset {name!r} is not in {registry.path}", hint)


def read_registry(dataset_dir: str) -> Registry | None:
    """The folder's ``dataset_info.json``, or ``None`` when there is none. Raises Unusable when it is broken."""
    if dataset_dir.startswith("REMOTE:"):
        raise Unusable(Problem("error", f"dataset_dir {dataset_dir!r}: remote folders cannot be read", "download it"))
    path = Path(dataset_dir).expanduser() / INFO
    try:
        return _read(path, path.stat().st_mtime_ns)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except json.JSONDecodeError as e:
        problem = Problem("error", f"broken JSON: {e.msg.lower()}", origin=Origin(str(path), e.lineno))
    except (OSError, UnicodeDecodeError) as e:
        problem = Problem("error", f"cannot be read: {e}", origin=Origin(str(path)))
    raise Unusable(problem)


@lru_cache(maxsize=8)
def _read(path: Path, changed: int) -> Registry:
    text = path.read_text(encoding="utf-8-sig")
    entries = json.loads(text)
    if not isinstance(entries, dict):
        raise Unusable(Problem("error", "an object of datasets was expected", origin=Origin(str(path), 1)))
    return Registry(path, entries, text)


def _spec(name: str, registry: Registry) -> DatasetSpec:
    entry = registry.entries[name]
    if complaint := _complaint(entry):
        raise Unusable(Problem("error", f"dataset {name!r}: {complaint}", origin=registry.origin(name)))
    place = next(key for key in (preferred_hub(), *PLACES) if entry.get(key))
    local = place == "file_name"
    return DatasetSpec(
        name=name,
        source=PLACES[place],
        location=str(registry.path.parent / entry[place]) if local else entry[place],
        formatting=entry.get("formatting") or "alpaca",
        columns=_written(entry.get("columns")),
        tags=_written(entry.get("tags")),
        ranking=bool(entry.get("ranking", False)),
        subset=entry.get("subset"),
        split=entry.get("split") or "train",
        folder=entry.get("folder"),
        num_samples=entry.get("num_samples"),
        revision=entry.get("revision"),
    )


def _written(names: Mapping[str, str | None] | None) -> dict[str, str]:
    """Column names as given; ``null`` and ``""`` both say that the data has no such column."""
    return {role: name or "" for role, name in (names or {}).items()}


def _complaint(entry: Any) -> str:
    """What is wrong with an entry, or nothing."""
    if not isinstance(entry, dict):
        return "an object was expected"
    for kind, keys in TYPES_OF_KEYS.items():
        for key in keys:
            if entry.get(key) is not None and not isinstance(entry[key], kind):
                return f"{key}={entry[key]!r} is not {'an object' if kind is dict else 'text'}"
    for key in ("columns", "tags"):
        for role, name in (entry.get(key) or {}).items():
            if name is not None and not isinstance(name, str):
                return f"{key}: {role}={name!r} is not a name"
    number = entry.get("num_samples")
    if number is not None and (type(number) is not int or number < 1):
        return f"num_samples={number!r} is not a positive number"
    if not isinstance(entry.get("ranking", False), bool):
        return f"ranking={entry['ranking']!r} is neither true nor false"
    if entry.get("script_url"):
        return "script_url: loading scripts are not run; convert the data to parquet or jsonl and use file_name"
    return "" if any(entry.get(key) for key in PLACES) else f"none of {', '.join(PLACES)} says where it is"


def entry_warnings(name: str, dataset_dir: str) -> list[Problem]:
    """What an entry of ``dataset_info.json`` says in vain."""
    registry = read_registry(dataset_dir) if dataset_dir != "ONLINE" else None
    entry = registry.entries.get(name) if registry else None
    if registry is None or not isinstance(entry, dict):
        return []
    problems = []
    known = OTHER_KEYS | PLACES.keys()
    if entry.get("file_name") and not any(entry.get(key) for key in PLACES if key != "file_name"):
        known -= {"subset", "folder", "revision"}  # words of a hub, where local files have their path
    for key in sorted(entry.keys() - known):
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else ""
        if key == "type":
            hint = "the stage decides what the data is for"
        problems.append(Problem("warning", f"dataset {name!r}: {key!r} has no effect", hint, "", registry.origin(name)))
    return problems


def _direct(name: str, path: Path) -> DatasetSpec:
    """A file or folder that no registry describes; its first rows tell the format where plain text can be read."""
    try:
        columns = first_columns(path)
    except RunError as e:
        raise Unusable(Problem("error", f"dataset {name!r}: {e.message}", e.hint)) from None
    return guessed(DatasetSpec(name=name, source="local", location=str(path), formatting=""), columns)


def guessed(spec: DatasetSpec, columns: list[str] | None) -> DatasetSpec:
    """The description completed by the data's columns. Raises Unusable when they tell nothing."""
    if columns is None or spec.formatting:
        return spec
    guess = guess_format(columns)
    if guess is None:
        have = ", ".join(columns) or "none"
        hint = f"describe it in {INFO} with 'formatting' and 'columns'"
        raise Unusable(Problem("error", f"dataset {spec.name!r}: no format is known for the columns {have}", hint))
    return DatasetSpec(
        name=spec.name,
        source=spec.source,
        location=spec.location,
        formatting=guess.formatting,
        columns=guess.columns,
        ranking=guess.ranking,
        split=spec.split,
    )


def absent_files(spec: DatasetSpec) -> Problem | None:
    """The problem with a local dataset whose files are not there."""
    if spec.source != "local":
        return None
    try:
        data_files(Path(spec.location))
    except RunError as e:
        level = "error" if Path(spec.location).exists() else "missing"
        return Problem(level, f"dataset {spec.name!r}: {e.message}", e.hint)
    return None
