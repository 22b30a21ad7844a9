"""``ftk plan``."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer

from .. import lock
from ..kinds import Action
from ..pipeline import Pipeline
from ..plan import Plan
from ..settings import RunConfig
from .options import ConfigArgument, Json, Overrides, Strict, print_json
from .session import opened, show
from .table import table


def plan(
    config: ConfigArgument,
    overrides: Overrides = None,
    action: Annotated[str | None, typer.Option("--for", help="train, export or chat; guessed from the keys.")] = None,
    strict: Strict = False,
    json: Json = False,
) -> None:
    """Show what a config would run, in which order, and what is wrong with it. Starts nothing."""
    if action not in (None, "train", "export", "chat"):
        raise typer.BadParameter("train, export or chat", param_hint="--for")
    chosen: Action | None = action  # type: ignore[assignment]
    found = opened(config, overrides, chosen, strict=strict)
    if isinstance(found, Plan):
        print_plan(found, json=json)
    else:
        print_steps(found, json=json)


def print_steps(pipeline: Pipeline, *, json: bool = False) -> None:
    if json:
        print_json([{"step": step.name, **as_json(step.plan)} for step in pipeline.steps])
        return
    for number, step in enumerate(pipeline.steps, 1):
        typer.echo(
            f"step {number} of {len(pipeline.steps)}, {step.name!r}, in {step.plan.config[RunConfig].output_dir}:"
        )
        print_plan(replace(step.plan, problems=tuple(step.open_problems())))
        typer.echo()


def as_json(plan: Plan) -> dict[str, Any]:
    problems = [
        {"level": p.level, "message": p.message, "hint": p.hint, "at": str(p.origin or "")} for p in plan.problems
    ]
    return lock.describe(plan) | {
        "reasons": dict(plan.reasons),
        "estimate": estimated(plan),
        "problems": problems,
    }


def print_plan(plan: Plan, *, json: bool = False) -> None:
    if json:
        print_json(as_json(plan))
        return
    estimate = estimated(plan)
    show(plan.problems)
    reasons = dict(plan.reasons)
    typer.echo(f"{plan.action} with {len(plan.components)} components, in this order:")
    typer.echo(table([(c.id, f"{c.plugin} {c.version}", reasons.get(c.id, ""), c.summary) for c in plan.components]))
    if estimate:
        typer.echo("\nestimate:")
        typer.echo(table([(name, _readable(value)) for name, value in estimate.items()]))


def estimated(plan: Plan) -> dict[str, Any]:
    """What plugins say that the plan will cost. A plugin that fails to estimate says nothing."""
    out: dict[str, Any] = {}
    for plugin in plan.plugins():
        hook = getattr(plugin.module, "ftk_estimate", None)
        for name, value in (hook(plan) if hook else {}).items():
            if name in out:
                raise ValueError(f"two plugins estimate {name!r}; the second is {plugin.dist}")
            out[name] = value
    return out


def _readable(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
