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
            name="reinforce_plus_plus",
            target="ft_plugin_grpo.stage:PolicyStage",
            args={"loss": "dapo", "advantage": "reinforce_plus_plus"},
            summary="Reinforcement from rewards, normalised over the whole batch (arXiv:2501.03262)",
            requires=("trainer:transformers", "addon:rollouts", "addon:rewards"),
        ),
        Component(
            kind="advantage",
            name="reinforce_plus_plus",
            target="ft_plugin_reinforce_plus_plus.advantage:Provider",
            summary="Rewards less their group's mean, normalised over the whole batch (arXiv:2501.03262)",
        ),
    ]


@hookimpl
def ftk_select(config: Config) -> list[str]:
    return parts_of(config, "reinforce_plus_plus", loss="dapo", advantage="reinforce_plus_plus")
