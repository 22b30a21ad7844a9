"""``ftk export``."""

from __future__ import annotations

import typer

from ftk.cli.options import ConfigArgument, Json, Overrides, print_json
from ftk.cli.session import open_run
from ftk.execute import start


def export(config: ConfigArgument, overrides: Overrides = None, json: Json = False) -> None:
    """Write a trained model, its adapter merged, as a folder for other programs: set export_dir."""
    made = start(open_run(config, overrides, "export")).artifacts
    if json:
        print_json([{"kind": a.kind, "path": str(a.path), "summary": a.summary} for a in made])
        return
    for artifact in made:
        typer.echo(f"{artifact.kind}: {artifact.path} ({artifact.summary})")
