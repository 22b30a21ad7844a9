"""``docs/reference/templates.md``: every prompt format, and what it was compared with."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

from .packages import Package
from .tables import markdown

TRAITS = ("tools", "plain", "thoughts", "system", "no system", "turns")
"""Words of ``Original.without`` that stand for many conversations."""
READER = "ft_plugin_templates.pack"
"""Reads the files of packs. The sdk stands below plugins, and gets at it by name as at any other of them."""


def page(note: str, packages: Iterable[Package], readme: str = "../../plugins/templates/README.md") -> str:
    """All components of the kind template that come from files."""
    read = importlib.import_module(READER).read
    found = [
        (read(c.args["package"], c.args["name"]), package.name)
        for package in packages
        for c in package.components()
        if c.kind == "template" and "package" in c.args
    ]
    found.sort(key=lambda pair: pair[0].name)
    rows = [_row(facts, dist) for facts, dist in found]
    head = ("template", "from", "writes", "compared with", "alike")
    return "\n".join(
        [note, "# Templates\n", _summary([f for f, _ in found]), _TEXT.format(readme), markdown(head, rows)]
    )


def _summary(found: list[Any]) -> str:
    own = [f for f in found if not f.is_alias]
    compared = [f for f in own if f.originals or f.libraries]
    whole = [f for f in compared if any(not _limits(o) for o in f.originals)]
    originals = {o.sha256 for f in own for o in f.originals}
    libraries = sorted({name for f in own for name in f.libraries})
    return (
        f"{len(found)} names: {len(own)} templates and {len(found) - len(own)} further names. {len(compared)} of them "
        f"are compared with {len(originals)} of vendors, or with {', '.join(libraries) or 'no library'}; {len(whole)} "
        "write what an original writes in every conversation that both can write.\n"
    )


def _row(facts: Any, dist: str) -> tuple[str, str, str, str, str]:
    writes = {"tools": facts.tool_parser, "thoughts": facts.thought, **facts.media}
    if facts.is_alias:
        return f"`{facts.name}`", dist, "", f"another name of `{facts.like.rpartition(':')[2]}`", ""
    best: dict[str, int] = {}
    for original in facts.originals:
        source = original.source + (f" ({_limits(original)})" if _limits(original) else "")
        best[source] = max(best.get(source, 0), original.alike)
    best |= {f"the library {name}": number for name, number in facts.libraries.items()}
    against = "; ".join(best) or (f"nothing; it is like `{facts.like.rpartition(':')[2]}`" if facts.like else "nothing")
    return (
        f"`{facts.name}`",
        dist,
        ", ".join(w for w, has in writes.items() if has),
        against,
        str(max(best.values(), default="")),
    )


def _limits(original: Any) -> str:
    """In what an original was not compared, or not alike, in a few words."""
    traits = [word for word in original.without if word in TRAITS]
    parts = [f"without {word}" for word in traits]
    if titles := len(original.without) - len(traits):
        parts.append(f"but for {titles} conversation{'s' * (titles > 1)}")
    parts += ["prompts"] if original.prompts_only else []
    parts += ["without schemas"] if original.no_schemas else []
    parts += ["but for a fixed beginning or end"] if original.before or original.after else []
    return ", ".join(parts)


_TEXT = """\
A template is compared, text for text, on sixty conversations, whole and as prompts: `alike` says on how many the
two are the same. Of the others either refuses one, or the original drops what it holds. An original is named by where
it was found; the file of the template has its SHA-256, by which `template: auto` knows it. `make test-conformance`
repeats this with what can be fetched, and compares tokens where a vendor's tokenizer or library can.
[How to compare one with a tokenizer of yours]({}).
"""
