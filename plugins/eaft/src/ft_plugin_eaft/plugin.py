"""What this plugin offers. Imports nothing heavy."""

from ftk.component import Component
from ftk.markers import hookimpl
from ftk.plan import Plan
from ftk.problems import Problem

from .config import EaftConfig


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="loss",
            name="eaft",
            target="ft_plugin_eaft.loss:Eaft",
            summary="Cross-entropy weighted by the prediction's entropy (arXiv:2601.02151)",
            requires=("stage:sft",),
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_eaft.config:EaftConfig"]


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    alpha = plan.config[EaftConfig].eaft_alpha
    if alpha < 0:
        return [
            Problem(
                "error",
                f"eaft_alpha={alpha} is negative",
                "0 weighs all tokens alike, 1 by their entropy",
                key="eaft_alpha",
            )
        ]
    return []
