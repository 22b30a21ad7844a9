"""What this plugin offers. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftk.aliases import Alias
from ftk.component import Component
from ftk.markers import hookimpl

from . import checks, folder
from .config import HfConfig

if TYPE_CHECKING:
    from ftk.plan import Plan
    from ftk.problems import Problem

_VISION = "a setting of a vision tower, which a text job does not read; it has no effect"


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="loader",
            name="hf",
            target="ft_plugin_hf.loader:HfLoader",
            summary="Models and tokenizers through transformers",
            default=True,
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_hf.config:HfConfig", "ft_plugin_hf.config:HfInferenceConfig"]


@hookimpl
def ftk_hookspecs() -> list[str]:
    return ["ft_plugin_hf.specs:HfSpecs"]


@hookimpl
def ftk_aliases() -> list[Alias]:
    return [Alias(old=old, new=None, note=_VISION) for old in ("spatial_merge_size", "image_grid_pinpoints")]


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    return [*checks.model(plan), *checks.tokens(plan), *checks.checkpointing(plan), *checks.without_effect(plan)]


@hookimpl
def ftk_estimate(plan: Plan) -> dict[str, object]:
    return folder.estimate(plan.config[HfConfig].model_name_or_path)
