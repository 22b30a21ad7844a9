"""What this plugin offers. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftk.aliases import Alias
from ftk.component import Component
from ftk.markers import hookimpl
from ftk.problems import Problem

from .config import PackingConfig

if TYPE_CHECKING:
    from ftk.compose import Config
    from ftk.plan import Plan

OTHER_ROWS = ("bco", "cpo", "dpo", "grpo", "kto", "orpo", "ppo", "rloo", "rm", "simpo")
"""Stages whose rows are pairs, prompts or verdicts. Other stages are asked by their encoder, when the run begins."""


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="addon",
            name="packing",
            target="ft_plugin_packing.packing:Packing",
            summary="Several documents in one sequence, isolated from each other",
            conflicts=tuple(f"stage:{name}" for name in OTHER_ROWS),
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_packing.config:PackingConfig"]


@hookimpl
def ftk_aliases() -> list[Alias]:
    note = "decided by 'packing', which always isolates; it has no effect"
    return [Alias(old="block_diag_attn", new=None, note=note)]


@hookimpl
def ftk_select(config: Config) -> list[str]:
    return ["addon:packing"] if config[PackingConfig].packs else []


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    packing = plan.config[PackingConfig]
    problems = []
    if packing.packing is False and packing.neat_packing:
        message = "packing: false and neat_packing: true contradict each other"
        problems.append(Problem("error", message, "keep one of the two", "neat_packing"))
    if packing.packing_mode == "isolated":
        return problems
    if "stage:pt" not in plan and plan.action == "train":
        stages = " and ".join(c.name for c in plan.of_kind("stage"))
        message = f"packing_mode: 'concatenated' lets documents see each other, which stage {stages!r} must not"
        problems.append(Problem("error", message, "unset packing_mode", "packing_mode"))
    if packing.neat_packing:
        message = "neat_packing isolates documents, and packing_mode: 'concatenated' does not"
        problems.append(Problem("error", message, "set packing: true in place of neat_packing", "packing_mode"))
    return problems
