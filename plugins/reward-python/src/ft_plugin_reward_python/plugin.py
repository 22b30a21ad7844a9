"""What this plugin offers. Imports nothing heavy."""

from ftk.component import Component
from ftk.markers import hookimpl
from ftk.plan import Plan
from ftk.problems import Problem

from .config import RewardPythonConfig


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="reward",
            name="python_tests",
            target="ft_plugin_reward_python.reward:Provider",
            summary="The share of the row's tests that the completion's Python code passes",
            section="reward-python",
            requires=("addon:rewards",),
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_reward_python.config:RewardPythonConfig"]


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    config = plan.config[RewardPythonConfig]
    return [
        Problem("error", f"{key}={getattr(config, key)!r} is not positive", key=key)
        for key in ("reward_python_timeout", "reward_python_memory", "reward_python_workers")
        if getattr(config, key) <= 0
    ]
