"""What this plugin offers. Imports nothing heavy."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from ftk.component import Component
from ftk.markers import hookimpl
from ftk.problems import Problem

from .config import ReferenceModelConfig

if TYPE_CHECKING:
    from ftk.compose import Config
    from ftk.plan import Plan

ID = "addon:reference-model"


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="addon",
            name="reference-model",
            target="ft_plugin_reference_model.model:ReferenceModel",
            summary="A model of one's own to compare the policy with",
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_reference_model.config:ReferenceModelConfig"]


@hookimpl
def ftk_select(config: Config) -> list[str]:
    return [ID] if config[ReferenceModelConfig].is_separate else []


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    key = "ref_model_quantization_bit"
    bits = plan.config[ReferenceModelConfig].ref_model_quantization_bit
    if bits is None:
        return []
    if bits not in (4, 8):
        return [Problem("error", f"{key}={bits} is neither 4 nor 8", "set it to one of them, or unset it", key)]
    if importlib.util.find_spec("bitsandbytes") is None:
        return [Problem("error", f"{key} needs the package 'bitsandbytes'", "pip install bitsandbytes", key)]
    return []
