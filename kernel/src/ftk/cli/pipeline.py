"""Run the steps of a pipeline one after the other, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from .. import lock
from ..pipeline import Pipeline, Step
from ..problems import RunError
from ..settings import RunConfig
from .options import print_json

STATE = "pipeline.json"
"""Beside the folders of the steps: what was started and what was finished, by name, each with its mark."""


def run_steps(pipeline: Pipeline, words: Sequence[str], *, as_json: bool) -> None:
    """Run what is not done yet, each step after those before it. A step that was interrupted goes on.

    words  the command that, with ``--step NAME``, runs one step
    """
    state = _state(pipeline.root)
    results: list[dict[str, Any]] = []
    for number, (step, mark) in enumerate(marked(pipeline), 1):
        head = f"step {number} of {len(pipeline.steps)}: {step.name}"
        folder = Path(step.plan.config[RunConfig].output_dir)
        if state["finished"].get(step.name) == mark and folder.exists():
            typer.echo(f"{head} (done before)", err=True)
            continue
        typer.echo(head, err=True)
        _require_own(step, mark, state["started"], folder)
        state["started"][step.name] = mark
        state["finished"].pop(step.name, None)
        lock.write_json(pipeline.root / STATE, state)
        result = _run(step.name, [*words, "--step", step.name, *(["--json"] if as_json else [])], as_json)
        results.append({"step": step.name, **result})
        state["finished"][step.name] = mark
        lock.write_json(pipeline.root / STATE, state)
    if as_json:
        print_json(results)


def marked(pipeline: Pipeline) -> Iterator[tuple[Step, str]]:
    """Each step with what its result depends on: its own plan and those of the steps before it."""
    mark = ""
    for step in pipeline.steps:
        plan = lock.describe(step.plan)
        keys = {**plan["defaults"], **plan["config"]}
        del keys["overwrite_output_dir"]
        mark = lock.fingerprint([mark, plan["components"], keys])
        yield step, mark


def _require_own(step: Step, mark: str, started: Mapping[str, str], folder: Path) -> None:
    """A folder with a result of other keys, or of other earlier steps, is neither gone on with nor lost in silence."""
    config = step.plan.config[RunConfig]
    if step.plan.action != "train" or started.get(step.name) == mark or config.overwrite_output_dir:
        return
    if lock.read(folder) is not None:
        message = f"step {step.name!r}: {folder} holds the result of another config, or of other steps before it"
        raise RunError(message, "set overwrite_output_dir: true to replace it, or choose another output_dir")


def _state(root: Path) -> dict[str, dict[str, str]]:
    try:
        state = json.loads((root / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        state = {}
    return {"started": {}, "finished": {}} | state


def _run(name: str, words: Sequence[str], as_json: bool) -> dict[str, Any]:
    """One step in a child process, so that it leaves neither memory nor patches of libraries to the next."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ftk.cli.main", *words], stdout=subprocess.PIPE if as_json else None
    )
    try:
        out, _ = process.communicate()
    except KeyboardInterrupt:  # the child has been told too, and may have something to finish
        process.wait()
        raise
    if process.returncode:
        raise RunError(f"step {name!r} failed", "mend it and give the same command again: finished steps stay done")
    return json.loads(out) if as_json else {}
