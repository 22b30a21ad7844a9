"""A pack of templates: a package with a folder of TOML files, one for each template.

Listing a pack reads file names only. A file holds facts and the Jinja text, or what differs from another file that it
is ``like``.
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
class Original:
    """A vendor's template, found by its hash, and where the two write the same."""

    sha256: str
    source: str
    """Where it was found."""
    alike: int
    """How many conversations of the battery both write alike."""
    without: tuple[str, ...] = ()
    """Where they differ or the original drops something: titles, or a trait of ``originals.traits``."""
    history: tuple[str, ...] = ()
    """Titles or traits, ``"all"`` among them, that the original writes alike once another question follows."""
    default_system: str | None = None
    """In place of the template's own, for an original without one."""
    before: str = ""
    """What the template alone writes in front of a conversation."""
    after: str = ""
    """What the template alone writes behind the last answer."""
    in_parts: bool = False
    """The original takes content as a list of parts."""
    no_schemas: bool = False
    """The original writes no schemas of tools: calls are compared without them."""
    prompts_only: bool = False
    """Answers are written in another way."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Variables of both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One template, as its file describes it."""

    name: str
    like: str = ""
    """The template that has every fact which this file does not give: ``"name"``, or ``"package:name"``."""
    is_alias: bool = False
    """Whether the file gives nothing but ``like``."""
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
    originals: tuple[Original, ...] = ()
    """Vendors' templates that it was compared with: ``auto`` that meets one knows which stretches are answers."""
    libraries: Mapping[str, int] = field(default_factory=dict)
    """Vendors' libraries that write the same prompts (``tests/conformance``), and for how many conversations."""


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
    """The facts of a template. Raises RunError for a file that breaks the rules of a pack."""
    raw = _inherited(package, name, ())
    own = _parse(package, name)
    known = {f.name for f in fields(Facts)} - {"name", "like", "is_alias"}
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
            like=own.get("like", ""),
            is_alias=own.keys() == {"like"},
            thought=Thought(**thought) if thought else None,
            stop=tuple(raw.pop("stop", ())),
            originals=tuple(map(_original, raw.pop("originals", ()))),
            **raw,
        )
    except TypeError as e:
        raise _broken(package, name, str(e)) from e


def _original(raw: Mapping[str, Any]) -> Original:
    """TOML has arrays for tuples, and ``from`` for what is a word of Python's."""
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items() if k != "from"}
    return Original(source=raw.get("from", ""), **values)


def _inherited(package: str, name: str, below: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """What the file says, and what those say that it is like. ``below``: the files that led here."""
    raw = _parse(package, name)
    like = raw.pop("like", "")
    if not like:
        return raw
    there, _, target = like.rpartition(":")
    there, below = there or package, (*below, (package, name))
    if (there, target) in below or not _has(there, target):
        raise _broken(package, name, f"like = {like!r} names no template that has a Jinja text")
    inherited = _inherited(there, target, below)
    # An alias is compared with what its template is compared with; something like a template is not that template.
    return {k: v for k, v in inherited.items() if not raw or k not in ("originals", "libraries")} | raw


def _has(package: str, name: str) -> bool:
    try:
        return name in names(package)
    except (ImportError, OSError):
        return False


def text(package: str, name: str) -> str:
    """The file of a template."""
    return (resources.files(package) / FOLDER / f"{name}.toml").read_text("utf-8")


def _parse(package: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text(package, name))
    except tomllib.TOMLDecodeError as e:
        raise _broken(package, name, str(e)) from e


def _broken(package: str, name: str, reason: str) -> RunError:
    return RunError(f"template {name!r} of {package}: {reason}", f"correct {FOLDER}/{name}.toml")
