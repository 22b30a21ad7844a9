"""``ftk smoke``, which is also ``ftk run --smoke``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ftk.cli.options import ConfigArgument, Json, Overrides
from ftk.cli.pipeline import STATE
from ftk.cli.run import run
from ftk.cli.session import opened, read
from ftk.load import PIPELINE, Raw
from ftk.plan import Plan
from ftk.problems import FtkError
from ftk.settings import RunConfig

from .changes import LEFT_OUT, STEPS, beside, few_steps


def smoke(
    config: ConfigArgument,
    overrides: Overrides = None,
    steps: Annotated[int, typer.Option("--steps", help="Optimizer steps of each run.")] = STEPS,
    json: Json = False,
) -> None:
    """Run a whole config, export too, for a few steps on shrunken models, beside its output folder."""
    found = opened(config, overrides)
    plans = [found] if isinstance(found, Plan) else [step.plan for step in found.steps]
    file, replaced = read(config, overrides)
    keys = {key: item.value for key, item in (file | replaced).items()}
    secrets = {key for plan in plans for key in plan.config.secrets}
    for key in sorted(LEFT_OUT.keys() & keys):
        typer.echo(f"left out: {key} ({LEFT_OUT[key]})", err=True)
    root = beside(str(keys.get("output_dir") or RunConfig.output_dir), "smoke")
    path = Path(root).with_name(f"{Path(root).name}.yaml")
    (Path(root) / STATE).unlink(missing_ok=True)  # a trial is made anew
    _write(path, few_steps(_moved(keys, root), steps) | {"output_dir": root}, secrets)
    run(str(path), [f"{key}={keys[key]}" for key in sorted(secrets & keys.keys())], json=json)


def _moved(keys: dict[str, Any], root: str) -> dict[str, Any]:
    """The same keys, but what is exported goes below ``root``; those of a pipeline's steps too."""
    out = {key: str(Path(root) / "export") if key == "export_dir" and value else value for key, value in keys.items()}
    if isinstance(steps := keys.get(PIPELINE), list):
        plain = [{key: item.value if isinstance(item, Raw) else item for key, item in step.items()} for step in steps]
        kept = [{k: v for k, v in step.items() if k not in ("max_steps", "max_samples", *LEFT_OUT)} for step in plain]
        out[PIPELINE] = [_moved(step, str(Path(root) / f"{n}")) for n, step in enumerate(kept, 1)]
    return out


def _write(path: Path, keys: dict[str, Any], secrets: set[str]) -> None:
    import yaml  # not before it is needed: the commands of a program are imported to be listed

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump({k: v for k, v in keys.items() if k not in secrets}, sort_keys=False)
        path.write_text(text, encoding="utf-8")
    except OSError as e:
        raise FtkError(f"cannot write {path}: {e.strerror}", "choose another output_dir") from None
    typer.echo(f"trying {path}", err=True)
