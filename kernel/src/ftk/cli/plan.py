"""``ftk plan``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .. import lock
from ..kinds import Action
from ..plan import Plan
from .options import ConfigArgument, Json, Overrides, Strict, print_json
from .session import open_plan, show
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
    print_plan(open_plan(config, overrides, chosen, strict=strict), json=json)


def print_plan(plan: Plan, *, json: bool = False) -> None:
    estimate = estimated(plan)
    if json:
        problems = [
            {"level": p.level, "message": p.message, "hint": p.hint, "at": str(p.origin or "")} for p in plan.problems
        ]
        print_json(lock.describe(plan) | {"reasons": dict(plan.reasons), "estimate": estimate, "problems": problems})
        return
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
