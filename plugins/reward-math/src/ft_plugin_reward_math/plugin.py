"""What this plugin offers. Imports nothing heavy."""

from ftk.component import Component
from ftk.markers import hookimpl
from ftk.plan import Plan
from ftk.problems import Problem

from .config import RewardMathConfig


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="reward",
            name="math_verify",
            target="ft_plugin_reward_math.reward:Provider",
            summary="1 where the completion's answer equals that of the data as a mathematical expression, else 0",
            section="reward-math",
            requires=("addon:rewards",),
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_reward_math.config:RewardMathConfig"]


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    seconds, key = plan.config[RewardMathConfig].reward_math_timeout, "reward_math_timeout"
    return [Problem("error", f"{key}={seconds!r} is not positive", key=key)] if seconds <= 0 else []
