"""``ftk version``."""

from __future__ import annotations

import platform

import typer

from .. import __version__
from ..metadata import rows
from .options import Json, print_json


def version(json: Json = False) -> None:
    """Show the versions of the kernel, Python and every plugin."""
    found = {"ftk-kernel": __version__, "python": platform.python_version()} | {p.dist: p.version for p in rows()}
    if json:
        print_json(found)
    else:
        typer.echo("\n".join(f"{name} {number}" for name, number in found.items()))
