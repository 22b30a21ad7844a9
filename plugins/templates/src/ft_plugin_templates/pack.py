"""A pack of templates: a package with a folder of TOML files, one for each template.

Listing a pack reads file names only. A file holds facts and the Jinja text, or ``alias_of`` and nothing else.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import resources
from typing import Any

from ftk.component import Component
from ftk.problems import RunError

FOLDER = "templates"
MEDIA = ("image", "video", "audio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Thought:
    """How a template writes what a model thinks before it answers."""

    open: str
    close: str
    earlier: str
    """What the template does with thoughts before the last user message: ``"kept"`` or ``"dropped"``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One template, as its file describes it."""

    name: str
    alias_of: str = ""
    """The template that this is another name of."""
    chat_template: str
    """Jinja, with ``{% generation %}`` around exactly what carries loss. It has no default system prompt of its own."""
    stop: tuple[str, ...] = ()
    """What ends a generated turn, besides the tokenizer's end-of-sequence token."""
    default_system: str = ""
    """System prompt of conversations that have none."""
    thought: Thought | None = None
    tool_parser: str = ""
    """Name of the parser that reads the template's tool calls back; empty: it has no tool format."""
    media: Mapping[str, str] = field(default_factory=dict)
    """Placeholder in the text for each kind of medium that the model takes."""
    originals: tuple[str, ...] = ()
    """SHA-256 of vendors' templates that render what this one renders."""


def names(package: str) -> list[str]:
    """Names of the templates in a package, sorted."""
    folder = resources.files(package) / FOLDER
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def template_components(package: str) -> list[Component]:
    """A component for each template of a package: all that a pack's ``ftk_components`` has to return."""
    return [
        Component(
            kind="template",
            name=name,
            target="ft_plugin_templates.load:TemplateFile",
            summary=f"the prompt format {name!r}",
            args={"package": package, "name": name},
        )
        for name in names(package)
    ]


def read(package: str, name: str) -> Facts:
    """The facts of a template, of the one that it is another name of if it is an alias.

    Raises RunError for a file that breaks the rules of a pack.
    """
    raw = _parse(package, name)
    target = raw.get("alias_of", "")
    if target:
        if len(raw) > 1 or target not in names(package) or "alias_of" in _parse(package, target):
            raise _broken(
                package, name, "'alias_of' stands alone and names a template of the same pack that is no alias"
            )
        raw = _parse(package, target)
    known = {f.name for f in fields(Facts)} - {"name", "alias_of"}
    if unknown := sorted(raw.keys() - known):
        raise _broken(package, name, f"unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
    if not raw.get("chat_template", "").strip():
        raise _broken(package, name, "'chat_template' is missing")
    if unknown := sorted(set(raw.get("media", ())) - set(MEDIA)):
        raise _broken(package, name, f"unknown medium {unknown[0]!r}; known are {', '.join(MEDIA)}")
    thought = raw.pop("thought", None)
    try:
        return Facts(
            name=name,
            alias_of=target,
            thought=Thought(**thought) if thought else None,
            stop=tuple(raw.pop("stop", ())),
            originals=tuple(raw.pop("originals", ())),
            **raw,
        )
    except TypeError as e:
        raise _broken(package, name, str(e)) from e


def _parse(package: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads((resources.files(package) / FOLDER / f"{name}.toml").read_text("utf-8"))
    except tomllib.TOMLDecodeError as e:
        raise _broken(package, name, str(e)) from e


def _broken(package: str, name: str, reason: str) -> RunError:
    return RunError(f"template {name!r} of {package}: {reason}", f"correct {FOLDER}/{name}.toml")
