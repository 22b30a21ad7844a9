"""What this plugin offers. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ft_plugin_data.config import DataConfig
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
            name="sft",
            target="ft_plugin_sft.stage:Sft",
            summary="Supervised fine-tuning: cross-entropy of the assistant's tokens",
            requires=("trainer:transformers",),
            default=True,
        )
    ]


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    data = plan.config[DataConfig]
    if not data.ignore_pad_token_for_loss:
        message = "ignore_pad_token_for_loss: padding never carries loss here"
        return [Problem("warning", message, "", "ignore_pad_token_for_loss")]
    return []
