"""``ftk run``, ``ftk train``, ``ftk replay``."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from .. import lock
from ..contracts import Result
from ..execute import start
from ..plan import Plan
from ..run import Run
from .main import plugin_command
from .options import ConfigArgument, Json, Overrides, Strict, print_json
from .pipeline import run_steps
from .plan import print_plan, print_steps
from .session import alone, open_run, opened, ready


def run(
    config: ConfigArgument,
    overrides: Overrides = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Stop after the plan.")] = False,
    step: Annotated[str | None, typer.Option(metavar="NAME", help="Run this step of a pipeline alone.")] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="Try all of it in a minute: the same as `ftk smoke`.")] = False,
    strict: Strict = False,
    json: Json = False,
) -> None:
    """Run a config: train, evaluate, export."""
    if smoke:
        plugin_command("smoke")(config, overrides, json=json)
        return
    found = opened(config, overrides, strict=strict)
    if isinstance(found, Plan):
        plan = alone(found, config, step)
    elif step is not None:
        plan = found[step].plan
    elif dry_run:
        print_steps(found, json=json)
        return
    else:
        run_steps(found, ["run", config, *(overrides or ()), *(["--strict"] if strict else [])], as_json=json)
        return
    if dry_run:
        print_plan(plan, json=json)
        return
    _run(ready(plan), json)


def replay(
    folder: Annotated[str, typer.Argument(help="The output folder of a run.")],
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Run again what a run's plan.json records, into a new folder, and say what is different now."""
    words = list(overrides or ())
    if "output_dir" not in {w.lstrip("-").partition("=")[0] for w in words}:
        words.append(f"output_dir={Path(folder)}-replay")
    run = open_run(folder, words)
    recorded = lock.read(Path(folder)) or {}
    for line in lock.differences(recorded, lock.describe(run.plan)):
        if not line.startswith("output_dir:"):
            typer.echo(f"different now: {line}", err=True)
    _run(run, json)


def _run(run: Run, as_json: bool) -> None:
    # Libraries print what they like to stdout; ours holds the result only.
    with contextlib.redirect_stdout(sys.stderr):
        result = start(run)
    report(result, as_json)


def report(result: Result, as_json: bool) -> None:
    if as_json:
        artifacts = [{"kind": a.kind, "path": str(a.path), "summary": a.summary} for a in result.artifacts]
        print_json({"output_dir": str(result.output_dir), "metrics": result.metrics, "artifacts": artifacts})
        return
    for name, value in result.metrics.items():
        typer.echo(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    for artifact in result.artifacts:
        typer.echo(f"{artifact.kind}: {artifact.path} ({artifact.summary})")
