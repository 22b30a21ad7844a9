"""What this plugin offers. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ft_plugin_data.config import DataConfig
from ftk.component import Component
from ftk.markers import hookimpl
from ftk.problems import Problem

from .config import SftConfig

if TYPE_CHECKING:
    from ftk.plan import Plan


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="stage",
            name="sft",
            target="ft_plugin_sft.stage:Sft",
            summary="Supervised fine-tuning: cross-entropy of the assistant's tokens",
            requires=("trainer:transformers",),
            default=True,
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_sft.config:SftConfig"]


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    problems = []
    if not plan.config[DataConfig].ignore_pad_token_for_loss:
        message = "ignore_pad_token_for_loss: padding never carries loss here"
        problems.append(Problem("warning", message, "", "ignore_pad_token_for_loss"))
    if (weight := plan.config[SftConfig].z_loss_coefficient) < 0:
        problems.append(Problem("error", f"z_loss_coefficient={weight} is negative", "", "z_loss_coefficient"))
    return problems
