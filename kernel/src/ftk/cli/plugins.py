"""``ftk plugins`` and ``ftk plugins check``."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import Json, print_json
from .table import table

app = typer.Typer(
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    help="List installed plugins (from metadata; imports none), or check them.",
)


@app.callback()
def plugins(ctx: typer.Context, json: Json = False) -> None:
    if ctx.invoked_subcommand is not None:
        return
    from ..metadata import rows

    found = [(p.dist, p.version, "disabled" if p.disabled else p.summary) for p in rows()]
    if json:
        print_json([dict(zip(("dist", "version", "summary"), row, strict=True)) for row in found])
    else:
        typer.echo(table(found, indent="") or "no plugin is installed: pip install ftk-suite")


@app.command()
def check(
    names: Annotated[list[str] | None, typer.Argument(help="Distributions; all when none is given.")] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Import what the components name, too.")] = False,
    json: Json = False,
) -> None:
    """Import every plugin's declaration and say what is wrong with it. Exit code 1 when anything is."""
    from ..discover import discover

    wanted = set(names or ())
    found = [p for p in discover().plugins if not wanted or p.dist in wanted]
    if unknown := wanted - {p.dist for p in found}:
        raise typer.BadParameter(f"not installed: {', '.join(sorted(unknown))}")
    faults = {}
    for p in found:
        fault = p.error or (_import_targets(p.components) if deep else "")
        if fault:
            faults[p.dist] = fault
    if json:
        print_json(
            [
                {
                    "dist": p.dist,
                    "version": p.version,
                    "components": [c.id for c in p.components],
                    "error": faults.get(p.dist, ""),
                }
                for p in found
            ]
        )
    else:
        for p in found:
            offers = ", ".join(c.id for c in p.components) or f"{len(p.sections)} sections"
            typer.echo(f"{'FAIL' if p.dist in faults else 'ok  '} {p.dist} {p.version}: {faults.get(p.dist) or offers}")
    if any(not p.disabled and p.dist in faults for p in found):
        raise typer.Exit(1)


def _import_targets(components: list) -> str:
    for c in components:
        try:
            c.load()
        except Exception as e:
            return f"{c.id}: {type(e).__name__}: {e}"
    return ""
