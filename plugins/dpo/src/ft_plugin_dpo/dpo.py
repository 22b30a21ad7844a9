"""The stage, and its losses as components. Read this first."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from ft_plugin_preference.config import PreferenceConfig
from ft_plugin_preference.losses import PreferenceLoss
from ft_plugin_preference.stage import PairStage
from ftk.markers import hookimpl

from . import losses
from .config import DpoConfig
from .plugin import SMOOTHED, WHOLE_BATCH

if TYPE_CHECKING:
    from ftk.run import Run


class Dpo(PairStage):
    def losses(self, run: Run) -> Mapping[str, tuple[float, PreferenceLoss]]:
        config = run.config[PreferenceConfig]
        offered = run.merged("ftk_preference_losses", into="the preference losses", run=run)
        weights = config.pref_loss_weights or [1.0] * len(config.pref_loss)
        return {name: (weight, offered[name]) for name, weight in zip(config.pref_loss, weights, strict=True)}


class DpoLoss:
    """One of the functions of ``losses``, with the arguments that it takes from the config."""

    def __init__(self, name: str) -> None:
        self.name = name

    @hookimpl
    def ftk_preference_losses(self, run: Run) -> dict[str, PreferenceLoss]:
        arguments = {}
        if self.name != "sft":
            arguments["beta"] = run.config[PreferenceConfig].pref_beta
        if self.name in SMOOTHED:
            arguments["eps"] = run.config[PreferenceConfig].dpo_label_smoothing
        if self.name == "discopop":
            arguments["tau"] = run.config[DpoConfig].discopop_tau
        function = partial(getattr(losses, self.name), **arguments)
        whole_batch = self.name in WHOLE_BATCH
        return {self.name: PreferenceLoss(function, reference=self.name != "sft", whole_batch=whole_batch)}
