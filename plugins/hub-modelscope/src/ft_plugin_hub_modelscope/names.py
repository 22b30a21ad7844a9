"""Which names of models mean one of ModelScope. Standard library only."""

from __future__ import annotations

import os
import re
from pathlib import Path

PREFIX = "modelscope:"
VARIABLE = "USE_MODELSCOPE_HUB"
ID = re.compile(r"[\w.-]+/[\w.-]+")


def is_preferred() -> bool:
    """Whether ids without a prefix are ModelScope's: the words are LLaMA-Factory's."""
    return os.environ.get(VARIABLE, "").lower() in ("true", "y", "1")


def id_of(name: str) -> str | None:
    """The id on ModelScope that a model's name means; ``None`` for names that are others' business.

    Raises ValueError for a name with the prefix that is none.
    """
    if name.startswith(PREFIX):
        found = name.removeprefix(PREFIX)
        if not ID.fullmatch(found):
            raise ValueError(f"{name!r} is not of the form {PREFIX}OWNER/NAME")
        return found
    is_id = ID.fullmatch(name) and not name.startswith(".") and not Path(name).exists()
    return name if is_id and is_preferred() else None
