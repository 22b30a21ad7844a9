"""``ftk verify``: one curve, however a batch is cut, packed, shared among processes or interrupted."""

from __future__ import annotations

import contextlib
import io
import json as jsonlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from ft_plugin_data.config import DataConfig
from ftk.cli.options import ConfigArgument, Json, Overrides, print_json
from ftk.cli.session import open_training, ready, resolved
from ftk.cli.table import table
from ftk.execute import start
from ftk.load import Raw
from ftk.plan import Plan
from ftk.problems import ConfigError, Origin, RunError
from ftk_sdk.invariance import TOLERANCE, cuts, largest_difference

from .changes import STEPS, exact

INTERRUPTED = "interrupted after a step"
PROCESSES = "two processes"
PACKED = "packed"
GRADIENT_TOLERANCE = 1e-6
"""Between norms of gradients: models norm hidden states in float32, so what reaches a norm as one sum or as two parts,
as from a prompt that completions share, is rounded differently."""


@dataclass
class Curve:
    """What a run logged, by step."""

    losses: list[float]
    gradients: list[float] = field(default_factory=list)
    """Their norms: a loss may be the same number, as those of policy gradients are, whatever is learnt."""

    def differences(self, other: Curve) -> tuple[float, float]:
        """Between losses, and between norms."""
        losses = largest_difference({"": self.losses, "other": other.losses})
        return losses, largest_difference({"": self.gradients, "other": other.gradients})


def verify(
    config: ConfigArgument,
    overrides: Overrides = None,
    step: Annotated[str | None, typer.Option("--step", metavar="NAME", help="The step of a pipeline.")] = None,
    rows: Annotated[int, typer.Option("--rows", help="Rows of each dataset to train on; even.")] = 8,
    json: Json = False,
) -> None:
    """Train a config's stage in float64 on a shrunken model, its batch cut in every way, and require one curve."""
    if rows < 2 or rows % 2:
        raise ConfigError.single(f"--rows {rows} is not an even number of at least 2", "8 is the default")
    plan = open_training(config, overrides, step)
    data = plan.config[DataConfig]
    keys = exact(plan.config.dump(), rows, data.cutoff_len)
    rows *= len(data.dataset or ())
    if "addon:rewards" in plan:
        typer.echo("added: a reward drawn from the text of completions, as random weights may earn no other", err=True)
    curves: dict[str, Curve] = {}
    with tempfile.TemporaryDirectory(prefix="ftk-verify-") as folder:
        for number, (name, changes) in enumerate(_ways(plan, rows).items()):
            if name == PACKED and _sequences(Path(folder) / "0") > rows:
                typer.echo("packed: left out, as rows are split to more sequences than one step takes", err=True)
                continue
            typer.echo(f"{name} ...", err=True)
            own = keys | changes | {"output_dir": str(Path(folder) / str(number))}
            if name == INTERRUPTED:
                _interrupt(Path(folder) / "0", Path(own["output_dir"]))
            try:
                curves[name] = _curve(own, processes=2 if name == PROCESSES else 1)
            except RunError as e:
                if name != PACKED:
                    raise
                typer.echo(f"packed: left out: {e.message}", err=True)
    _report(curves, json)


def _ways(plan: Plan, rows: int) -> dict[str, dict[str, Any]]:
    """All ways to train on the same rows in every step. The first of them writes a checkpoint after each."""
    ways = cuts(rows)
    whole = next(iter(ways.values()))
    ways[next(iter(ways))] = whole | {"save_steps": 1}
    ways[INTERRUPTED] = whole | {"overwrite_output_dir": False}
    ways[PROCESSES] = {"per_device_train_batch_size": rows // 2, "gradient_accumulation_steps": 1}
    if "addon:rollouts" in plan:
        typer.echo(f"{PROCESSES}: left out, as each draws completions of its own", err=True)
        del ways[PROCESSES]
    if "packing" in plan.installed.index:
        unpacked = {name: keys | {"packing": False} for name, keys in ways.items()}
        return unpacked | ({PACKED: whole | {"packing": True}} if _packs(plan) else {})
    return ways


def _packs(plan: Plan) -> bool:
    """Whether the plan's stage can be packed: the packing plugin's own rules say."""
    keys = {key: Raw(value, Origin("verify")) for key, value in plan.config.dump().items()}
    try:
        resolved(keys | {"packing": Raw(True, Origin("verify"))}, "train", installed=plan.installed)
    except ConfigError:
        return False
    return True


def _sequences(folder: Path) -> int:
    ledgers = jsonlib.loads((folder / "ledger.json").read_text(encoding="utf-8"))["train"]
    return sum(ledger["sequences"] for ledger in ledgers)


def _curve(keys: dict[str, Any], *, processes: int) -> Curve:
    folder = Path(keys["output_dir"])
    if processes > 1:
        _in_processes(keys, folder.with_suffix(".yaml"), processes)
    else:
        with _quiet():
            start(ready(resolved({key: Raw(value, Origin("verify")) for key, value in keys.items()}, "train")))
    state = jsonlib.loads((folder / f"checkpoint-{STEPS}" / "trainer_state.json").read_text(encoding="utf-8"))
    log = [entry for entry in state["log_history"] if "loss" in entry]
    return Curve([entry["loss"] for entry in log], [entry["grad_norm"] for entry in log if "grad_norm" in entry])


def _in_processes(keys: dict[str, Any], path: Path, processes: int) -> None:
    path.write_text(jsonlib.dumps(keys), encoding="utf-8")  # JSON is YAML
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "ftk.cli.main", "run", str(path)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("error")]
        raise RunError(f"{processes} processes could not train together: {errors[0] if errors else done.stderr[-500:]}")


def _interrupt(whole: Path, folder: Path) -> None:
    """Leave in a folder what a run leaves that is killed after its first step."""
    folder.mkdir()
    shutil.copytree(whole / "checkpoint-1", folder / "checkpoint-1")
    shutil.copy(whole / "plan.json", folder)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def _report(curves: dict[str, Curve], as_json: bool) -> None:
    first = next(iter(curves.values()))
    both = {name: first.differences(curve) for name, curve in curves.items()}
    off = {name: losses for name, (losses, _) in both.items()}
    if as_json:
        print_json({name: vars(curve) | {"difference": off[name]} for name, curve in curves.items()})
    else:
        steps = max(len(curve.losses) for curve in curves.values())
        shown = {name: [f"{loss:.6f}" for loss in curve.losses] for name, curve in curves.items()}
        rows = [(name, *cells, *[""] * (steps - len(cells)), f"{off[name]:.1e}") for name, cells in shown.items()]
        typer.echo(table([("", *(f"step {n}" for n in range(1, steps + 1)), "difference"), *rows]))
    if wrong := [
        name for name, (losses, norms) in both.items() if not (losses < TOLERANCE and norms < GRADIENT_TOLERANCE)
    ]:
        raise RunError(f"not one curve: {', '.join(wrong)}", "the loss depends on how a batch is cut: tell its author")
    if len(set(first.losses)) == 1 and not any(first.gradients):
        message = f"the loss is {first.losses[0]:g} in every step and has no gradient, which shows little"
        typer.echo(f"warning: {message}", err=True)
    typer.echo(f"one curve, in float64, to {max(off.values()):.0e}", err=True)
