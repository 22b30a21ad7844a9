"""What this plugin offers. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ft_plugin_preference.config import PreferenceConfig
from ftk.component import Component
from ftk.markers import hookimpl
from ftk.problems import Problem

if TYPE_CHECKING:
    from ftk.plan import Plan


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="stage",
            name="bco",
            target="ft_plugin_bco.stage:Bco",
            summary="Learn to tell good answers from bad ones, against a shifting reward (arXiv:2404.04656)",
            requires=("trainer:transformers",),
        )
    ]


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    preference = plan.config[PreferenceConfig]
    problems = []
    if preference.pref_beta <= 0:
        message = f"pref_beta={preference.pref_beta} is not positive"
        problems.append(Problem("error", message, "0.1 is a usual value", "pref_beta"))
    if preference.pref_ftx < 0:
        problems.append(Problem("error", f"pref_ftx={preference.pref_ftx} is negative", "", "pref_ftx"))
    return problems
