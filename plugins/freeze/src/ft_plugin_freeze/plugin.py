"""What this plugin offers. Imports nothing heavy."""

from ft_plugin_full.plugin import check_trains_weights, weights_after
from ftk.component import Component
from ftk.markers import hookimpl
from ftk.plan import Plan
from ftk.problems import Problem

from .config import FreezeConfig


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="adapter",
            name="freeze",
            target="ft_plugin_freeze.freeze:Freeze",
            summary="Some layers train, the others stay as they are",
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_freeze.config:FreezeConfig"]


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    config = plan.config[FreezeConfig]
    problems = check_trains_weights(plan, "freeze")
    if config.freeze_trainable_layers == 0 and not config.freeze_extra_modules:
        message = "freeze_trainable_layers=0 leaves nothing to train"
        problems.append(
            Problem("error", message, "name layers, or parts with freeze_extra_modules", "freeze_trainable_layers")
        )
    return problems


@hookimpl
def ftk_hand_on(plan: Plan) -> dict[str, object]:
    return weights_after(plan)
