"""Old spellings of keys and values, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A key, or values of a key, that people write and that something else has replaced."""

    old: str
    """The key as it is written."""
    new: str | None
    """The key that replaced it; ``None``: the key has no effect here, and the note says why."""
    note: str
    """Completes the sentence "'old' is ...": ``"the old name of 'cutoff_len'"``."""
    values: Mapping[Any, Any] = field(default_factory=dict)
    """Written value -> new value. With ``old == new`` only these values are translated, and others pass."""
    convert: str = ""
    """``"package.module:function"`` from the written to the new value; it may raise ValueError."""
    silent: bool = False
    """Translate without a warning: the old spelling is as good as the new one."""
