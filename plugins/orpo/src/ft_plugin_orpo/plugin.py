"""What this plugin offers. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ft_plugin_preference.checks import check_without_reference
from ftk.component import Component
from ftk.markers import hookimpl

if TYPE_CHECKING:
    from ftk.plan import Plan
    from ftk.problems import Problem


@hookimpl
def ftk_components() -> list[Component]:
    summary = "Odds-ratio preference optimisation, without a reference model (arXiv:2403.07691)"
    return [
        Component(
            kind="stage",
            name="orpo",
            target="ft_plugin_orpo.orpo:Orpo",
            summary=summary,
            requires=("trainer:transformers",),
        ),
        Component(
            kind="preference-loss",
            name="orpo",
            target="ft_plugin_orpo.orpo:OrpoLoss",
            summary=summary,
            requires=("stage:dpo",),
        ),
    ]


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    ignored = ("dpo_label_smoothing", "ld_alpha")
    return check_without_reference(plan, ignored=ignored) if "stage:orpo" in plan else []
