"""What this plugin offers. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ft_plugin_hf.config import HfConfig
from ftk.component import Component
from ftk.markers import hookimpl

from .config import PREFIX

if TYPE_CHECKING:
    from ftk.compose import Config


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="hub",
            name="skeleton-name",
            target="ft_plugin_skeleton_name.hub:SkeletonName",
            summary="SUMMARY",
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_skeleton_name.config:SkeletonNameConfig"]


@hookimpl
def ftk_select(config: Config) -> list[str]:
    name = config[HfConfig].model_name_or_path or ""
    return ["hub:skeleton-name"] if name.startswith(PREFIX) else []
