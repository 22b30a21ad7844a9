"""What a stage that learns from groups of completions needs beside itself. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .config import GrpoConfig

if TYPE_CHECKING:
    from ftk.compose import Config


def parts_of(config: Config, stage: str, *, loss: str, advantage: str) -> list[str]:
    """For ``ftk_select`` of the stage's plugin: ids of components, where the config asks for the stage."""
    if config.value("stage") != stage:
        return []
    own = config[GrpoConfig]
    chosen = [f"policy-loss:{own.grpo_loss or loss}", f"advantage:{own.grpo_advantage or advantage}"]
    return ["addon:rollouts", "addon:rewards", *chosen]
