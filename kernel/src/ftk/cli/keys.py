"""``ftk keys``."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated

import typer

from ..discover import discover
from .options import Json, print_json
from .table import table


def keys(
    pattern: Annotated[str, typer.Argument(help="Part of a name, or a pattern with *.")] = "*",
    json: Json = False,
) -> None:
    """List config keys of installed plugins: name, type, default, owner, meaning."""
    index = discover().index
    wanted = pattern if "*" in pattern else f"*{pattern}*"
    found = [index[name] for name in index if fnmatchcase(name, wanted)]
    if json:
        print_json([{"key": k.name, "type": k.type, "default": k.default, "dist": k.dist, "doc": k.doc} for k in found])
        return
    typer.echo(table([(k.name, k.type, f"{k.default!r}", k.dist, k.doc.split("\n")[0]) for k in found], indent=""))
    absent = [
        f"{n} ({e.dist})" for n, e in sorted(index.catalog.keys.items()) if n not in index and fnmatchcase(n, wanted)
    ]
    if absent and pattern != "*":
        typer.echo(f"not installed: {', '.join(absent)}")
