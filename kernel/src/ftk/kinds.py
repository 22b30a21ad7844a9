"""The kinds of component, in the order in which a plan runs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["train", "export", "chat"]


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    exclusive: bool
    """A plan holds at most one component of the kind."""
    actions: tuple[Action, ...]
    """What a plan must be for to hold components of the kind."""


_ALL: tuple[Action, ...] = ("train", "export", "chat")

KINDS = {
    kind.name: kind
    for kind in (
        Kind("launcher", True, ("train",)),
        Kind("accelerator", False, _ALL),
        Kind("hub", False, _ALL),
        Kind("loader", True, _ALL),
        Kind("quantizer", True, _ALL),
        Kind("template", True, _ALL),
        Kind("tool-parser", True, ("chat",)),
        Kind("source", False, ("train",)),
        Kind("format", False, ("train",)),
        Kind("dataset", True, ("train",)),
        Kind("adapter", True, _ALL),
        Kind("stage", True, ("train",)),
        Kind("trainer", True, ("train",)),
        Kind("loss", True, ("train",)),
        Kind("reward", False, ("train",)),
        Kind("optimizer", True, ("train",)),
        Kind("scheduler", True, ("train",)),
        Kind("addon", False, _ALL),
        Kind("predictor", True, ("train",)),
        Kind("engine", True, ("chat",)),
        Kind("exporter", False, ("train", "export")),
        Kind("tracker", False, ("train",)),
    )
}
"""A component of a kind that is not listed is ordered last, may have siblings, and belongs to every action."""

SELECTORS = {"stage": "stage", "finetuning_type": "adapter"}
"""The kernel's own selector keys: key -> kind. Sections add theirs with ``selects``."""

REQUIRED: dict[Action, tuple[str, ...]] = {
    "train": ("loader", "template", "adapter", "stage"),
    "export": ("loader", "template", "adapter", "exporter"),
    "chat": ("loader", "template", "adapter", "engine"),
}
"""Kinds without which an action cannot run."""


def rank(kind: str) -> int:
    return list(KINDS).index(kind) if kind in KINDS else len(KINDS)


def is_exclusive(kind: str) -> bool:
    return kind in KINDS and KINDS[kind].exclusive


def belongs(kind: str, action: Action, requires: tuple[str, ...] = ()) -> bool:
    """Whether a plan for the action holds components of the kind that require these."""
    return (kind not in KINDS or action in KINDS[kind].actions) and all(
        belongs(need.partition(":")[0], action) for need in requires
    )
