"""Encoded data kept in a folder, with what it was made of, so that stale data is never used."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from ftk.lock import write_json
from ftk.problems import RunError

from .ledger import Ledger

MADE = "made.json"
"""In the folder beside the data: its identity and its ledgers."""


def load(folder: Path, identity: Mapping[str, Any]) -> tuple[Dataset, list[Ledger]] | None:
    """The data that was kept, or ``None`` when there is none. Raises RunError when it was made in another way."""
    if not folder.exists():
        return None
    hint = "set overwrite_cache: true to make it anew, or choose another tokenized_path"
    try:
        made = json.loads((folder / MADE).read_text(encoding="utf-8"))
        if changed := differences(made["identity"], json.loads(json.dumps(identity))):
            raise RunError(f"{folder} was made in another way: {'; '.join(changed[:3])}", hint)
        return Dataset.load_from_disk(str(folder)), [Ledger.from_dict(values) for values in made["ledgers"]]
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise RunError(f"{folder} does not hold data that ftk encoded: {type(e).__name__}: {e}", hint) from None


def save(folder: Path, data: Dataset, identity: Mapping[str, Any], ledgers: Sequence[Ledger]) -> Dataset:
    """Write the folder whole or not at all, in place of an earlier one; returns the data as read from it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    new, old = (folder.with_name(f".{folder.name}.{state}.{os.getpid()}") for state in ("new", "old"))
    try:
        data.save_to_disk(str(new))
        write_json(new / MADE, {"identity": identity, "ledgers": [ledger.as_dict() for ledger in ledgers]})
        if folder.exists():
            os.replace(folder, old)
        os.replace(new, folder)
    except OSError as e:
        raise RunError(f"cannot write to {folder}: {e.strerror or e}", "choose another tokenized_path") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return Dataset.load_from_disk(str(folder))


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """What differs between two JSON values, one line each."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [line for key in keys for line in differences(old.get(key), new.get(key), f"{where}.{key}".lstrip("."))]
    if old == new:
        return []
    was, now = (value if len(value) <= 60 else value[:60] + "..." for value in (json.dumps(old), json.dumps(new)))
    return [f"{where} was {was}, is {now}"]
