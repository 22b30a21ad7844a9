"""What this plugin offers. Imports nothing heavy."""

from ft_plugin_generate.config import GenerateConfig
from ftk.component import Component
from ftk.markers import hookimpl
from ftk.plan import Plan
from ftk.problems import Problem

from .config import RolloutsConfig


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="addon",
            name="rollouts",
            target="ft_plugin_rollouts.log:RolloutLogs",
            summary="Completions of prompts while training, for stages that ask for them",
            section="rollouts",
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_rollouts.config:RolloutsConfig"]


@hookimpl
def ftk_hookspecs() -> list[str]:
    return ["ft_plugin_rollouts.specs:RolloutSpecs"]


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    if plan.action != "train":
        return []
    own, sampling = plan.config[RolloutsConfig], plan.config[GenerateConfig]
    rules = [
        ("rollouts_batch_size", own.rollouts_batch_size < 1, own.rollouts_batch_size, "must be at least 1"),
        ("rollouts_logged", own.rollouts_logged < -1, own.rollouts_logged, "must be at least -1"),
        ("num_beams", sampling.num_beams != 1, sampling.num_beams, "is a search, where rollouts are drawn"),
        ("temperature", sampling.temperature <= 0, sampling.temperature, "must be above 0"),
    ]
    return [Problem("error", f"{key}={value!r} {message}", key=key) for key, bad, value, message in rules if bad]
