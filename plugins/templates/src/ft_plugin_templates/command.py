"""``ftk template``. Comparing needs transformers, imported when it is asked for: help and lists come at once."""

from __future__ import annotations

from dataclasses import asdict
from difflib import get_close_matches
from typing import Annotated

import typer

from ftk.cli.options import Json, print_json
from ftk.cli.table import table
from ftk.component import Component
from ftk.discover import discover
from ftk.problems import ConfigError

from .pack import Facts, read

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="List prompt formats, look at one, compare one with a tokenizer's own.",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="What `template` may be set to; `ftk template list`.")]


@app.callback()
def _root() -> None:
    pass


@app.command("list")
def list_(json: Json = False) -> None:
    """Names of the installed templates, with what they can write."""
    found = [(component, facts_of(component)) for component in templates().values()]
    if json:
        print_json([{"name": f.name, "from": c.plugin, "writes": _writes(f), "like": f.like} for c, f in found])
        return
    rows = [(f.name, c.plugin, _writes(f), _compared(f)) for c, f in found]
    typer.echo(table([("NAME", "FROM", "WRITES", "COMPARED WITH"), *rows], indent=""))


@app.command()
def show(name: Name, json: Json = False) -> None:
    """The facts of a template and its Jinja text."""
    facts = facts_of(named(name))
    if json:
        print_json(asdict(facts))
        return
    said = {k: v for k, v in asdict(facts).items() if v and k not in ("chat_template", "originals", "name")}
    typer.echo(table([(key, str(value)) for key, value in said.items()], indent=""))
    for original in facts.originals:
        typer.echo(f"compared with {original.source}: {original.alike} conversations alike ({original.sha256[:12]})")
    typer.echo(f"\n{facts.chat_template.strip()}")


@app.command()
def check(
    name: Name,
    tokenizer: Annotated[str, typer.Option("--tokenizer", metavar="DIR", help="Folder with a tokenizer, or a hub id.")],
    json: Json = False,
) -> None:
    """Compare a template with the tokenizer's own, token for token; with NAME `auto`, try the tokenizer's own.

    Exit code 0 when they are the same and can train, 1 when they are not.
    """
    component = None if name == "auto" else named(name)

    from .check import check as run  # imports transformers

    report = run(tokenizer, None if component is None else facts_of(component))
    if json:
        print_json(asdict(report) | {"ok": report.ok})
    else:
        typer.echo(report.text())
    if not report.ok:
        raise typer.Exit(1)


def templates() -> dict[str, Component]:
    """The templates of installed packs, by name."""
    found = {c.name: c for c in discover().offered().values() if c.kind == "template" and "package" in c.args}
    return dict(sorted(found.items()))


def named(name: str) -> Component:
    """Raises ConfigError for a name that no pack has."""
    found = templates()
    if name not in found:
        near = get_close_matches(name, found, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "see the names that `ftk template list` prints"
        raise ConfigError.single(f"there is no template {name!r}", hint)
    return found[name]


def facts_of(component: Component) -> Facts:
    return read(component.args["package"], component.args["name"])


def _writes(facts: Facts) -> str:
    writes = {"tools": facts.tool_parser, "thoughts": facts.thought, **facts.media}
    return ", ".join(what for what, has in writes.items() if has)


def _compared(facts: Facts) -> str:
    if facts.is_alias:
        return f"another name of {facts.like}"
    return "; ".join(dict.fromkeys(o.source for o in facts.originals))
