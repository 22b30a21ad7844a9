"""Rows of data as they pass from sources through formats to encoders: plain types."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict


class Message(TypedDict, total=False):
    """One turn, in the form of the OpenAI chat API."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]]
    """Text, or parts ``{"type": "text" | "image" | ..., ...}``."""
    reasoning_content: str
    """The thought before the answer."""
    tool_calls: list[dict[str, Any]]
    """``{"type": "function", "function": {"name": str, "arguments": dict}}``: arguments always an object."""
    name: str
    tool_call_id: str
    weight: float
    """Multiplies the loss of this turn; 0 masks it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One row of a dataset, whatever format it came in. Formatters make it, encoders read it."""

    messages: Sequence[Message] = ()
    tools: Sequence[Mapping[str, Any]] = ()
    """What the conversation may call: ``{"type": "function", "function": {name, description, parameters}}``."""
    text: str | None = None
    """Raw text, for pre-training; beside ``messages``, the text of a prompt that has no answer."""
    chosen: Sequence[Message] = ()
    """Preferred answer to ``messages``, for pairs."""
    rejected: Sequence[Message] = ()
    desirable: bool | None = None
    """Verdict on the last answer of ``messages``, for unpaired preferences."""
    images: Sequence[Any] = ()
    videos: Sequence[Any] = ()
    audios: Sequence[Any] = ()
    columns: Mapping[str, Any] = field(default_factory=dict)
    """Every other column of the row, for rewards and metrics."""


Formatter = Callable[[Mapping[str, Any]], Example]
"""Turns a row into an Example; picklable; raises ``RowError`` for a row that it cannot use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """One dataset as the config and ``dataset_info.json`` describe it."""

    name: str
    """As the user wrote it."""
    source: str
    """Name of the source component that opens it."""
    location: str
    """A path, a hub id, a URL: the source's business."""
    formatting: str
    """Name of the format component that reads its rows."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Role of a column -> its name in the file, only where the user gave one."""
    tags: Mapping[str, str] = field(default_factory=dict)
    ranking: bool = False
    """Rows are pairs of a chosen and a rejected answer."""
    subset: str | None = None
    split: str = "train"
    folder: str | None = None
    num_samples: int | None = None
    revision: str | None = None
