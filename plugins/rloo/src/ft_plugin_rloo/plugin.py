"""What this plugin offers. Imports nothing heavy."""

from ft_plugin_grpo.parts import parts_of
from ftk.component import Component
from ftk.compose import Config
from ftk.markers import hookimpl


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="stage",
            name="rloo",
            target="ft_plugin_grpo.stage:PolicyStage",
            args={"loss": "rloo", "advantage": "rloo", "penalty": "reward"},
            summary="Reinforcement from rewards with a leave-one-out baseline (arXiv:2402.14740)",
            requires=("trainer:transformers", "addon:rollouts", "addon:rewards"),
        ),
        Component(
            kind="advantage",
            name="rloo",
            target="ft_plugin_rloo.advantage:Provider",
            summary="Rewards less the mean of the other completions' (arXiv:2402.14740)",
        ),
    ]


@hookimpl
def ftk_select(config: Config) -> list[str]:
    return parts_of(config, "rloo", loss="rloo", advantage="rloo")
