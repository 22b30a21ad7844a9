"""What this plugin offers. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ft_plugin_hf.config import HfConfig
from ftk.component import Component
from ftk.markers import hookimpl
from ftk.problems import Problem

from .names import PREFIX, id_of

if TYPE_CHECKING:
    from ftk.compose import Config
    from ftk.plan import Plan

KEY = "model_name_or_path"


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="hub",
            name="modelscope",
            target="ft_plugin_hub_modelscope.hub:ModelScopeHub",
            summary="Models from ModelScope",
            needs=("modelscope",),
        )
    ]


@hookimpl
def ftk_select(config: Config) -> list[str]:
    name = config[HfConfig].model_name_or_path or ""
    # Also for a name that is none: then ftk_check says so.
    return ["hub:modelscope"] if name.startswith(PREFIX) or id_of(name) else []


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    try:
        id_of(plan.config[HfConfig].model_name_or_path or "")
    except ValueError as e:
        return [Problem("error", f"{KEY}: {e}", key=KEY)]
    return []
