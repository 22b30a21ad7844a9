"""What this plugin offers. Imports nothing heavy."""

from ftk.component import Component
from ftk.markers import hookimpl
from ftk.plan import Plan
from ftk.problems import Problem

from .checks import problems_of
from .config import RewardsConfig

BUILT_IN = {
    "exact_answer": "1 where the completion gives the answer of the data, else 0",
    "format": "1 where the completion has the wanted form, else 0",
    "json_schema": "1 where the completion is JSON that a schema allows, else 0",
    "length": "1 up to a length, falling to 0 beyond it",
}


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="addon",
            name="rewards",
            target="ft_plugin_rewards.files:RewardFiles",
            summary="Scores of completions, for stages that ask for them",
        ),
        *(
            Component(
                kind="reward",
                name=name,
                target=f"ft_plugin_rewards.{name}:Provider",
                summary=summary,
                section="rewards",
                requires=("addon:rewards",),
            )
            for name, summary in BUILT_IN.items()
        ),
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_rewards.config:RewardsConfig"]


@hookimpl
def ftk_hookspecs() -> list[str]:
    return ["ft_plugin_rewards.specs:RewardSpecs"]


@hookimpl
def ftk_select(config) -> list[str]:
    return [f"reward:{name}" for name in config[RewardsConfig].reward_funcs or () if ":" not in name]


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    return problems_of(plan)
