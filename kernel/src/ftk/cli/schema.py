"""``ftk schema``: completion and checks in the editor, from whatever is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from ..discover import Installed, discover
from ..kinds import SELECTORS
from ..section import meta
from .options import print_json


def schema(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to a file instead of the terminal.")
    ] = None,
) -> None:
    """Write the JSON schema of every key of every installed plugin."""
    made = json_schema(discover())
    if output is None:
        print_json(made)
    else:
        from ..lock import write_json

        write_json(output, made)
        typer.echo(f"wrote {output} with {len(made['properties'])} keys")


def json_schema(installed: Installed) -> dict[str, Any]:
    """A draft 2020-12 schema. Lists also take comma strings, and selectors suggest what is installed."""
    from pydantic import TypeAdapter  # not at import: listing commands stay light

    selectors = dict(SELECTORS)
    for cls in installed.index.sections():
        selectors |= meta(cls).selects
    properties = {}
    for name in installed.index:
        key = installed.index[name]
        one = TypeAdapter(get_type_hints(key.section)[name]).json_schema()
        if "array" in str(one):
            one = {"anyOf": [one, {"type": "string"}]}
        if name in selectors:
            offered = sorted(c.name for c in installed.offered().values() if c.kind == selectors[name])
            one = {"anyOf": [{"enum": offered}, {"type": "string"}, {"type": "null"}]}
        properties[name] = one | {"description": f"{key.doc} ({key.dist})", "default": key.default}
    for alias in installed.aliases():
        properties.setdefault(
            alias.old, {"description": f"{alias.old!r} is {alias.note}", "deprecated": not alias.silent}
        )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ftk config",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
