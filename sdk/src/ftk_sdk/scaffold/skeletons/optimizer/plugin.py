"""What this plugin offers. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ft_plugin_trainer.config import TrainerConfig
from ftk.component import Component
from ftk.markers import hookimpl

if TYPE_CHECKING:
    from ftk.compose import Config


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="optimizer",
            name="skeleton-name",
            target="ft_plugin_skeleton_name.optimizer:SkeletonName",
            summary="SUMMARY",
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_skeleton_name.config:SkeletonNameConfig"]


@hookimpl
def ftk_select(config: Config) -> list[str]:
    # ``optim`` is a key of the trainer, which takes any text: one of its values is ours.
    return ["optimizer:skeleton-name"] if config[TrainerConfig].optim == "skeleton-name" else []
