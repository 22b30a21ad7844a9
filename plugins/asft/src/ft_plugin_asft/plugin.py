"""What this plugin offers. Imports nothing heavy."""

from ftk.component import Component
from ftk.markers import hookimpl
from ftk.plan import Plan
from ftk.problems import Problem

from .config import AsftConfig


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="loss",
            name="asft",
            target="ft_plugin_asft.loss:Asft",
            summary="DFT anchored to a reference model (arXiv:2509.23753)",
            requires=("stage:sft",),
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_asft.config:AsftConfig"]


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    alpha = plan.config[AsftConfig].asft_alpha
    if alpha < 0:
        return [
            Problem("error", f"asft_alpha={alpha} is negative", "0 is plain DFT, 0.1 a usual value", key="asft_alpha")
        ]
    return []
