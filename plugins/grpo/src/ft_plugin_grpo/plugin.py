"""What this plugin offers. Imports nothing heavy."""

from __future__ import annotations

from ftk.component import Component
from ftk.compose import Config
from ftk.markers import hookimpl
from ftk.plan import Plan
from ftk.problems import Problem

from .checks import problems_of
from .parts import parts_of

LOSSES = {
    "grpo": "Clipped ratios of tokens, averaged over completions (arXiv:2402.03300)",
    "dr_grpo": "Clipped ratios of tokens, divided by constants (arXiv:2503.20783)",
    "dapo": "Clipped ratios of tokens, averaged over all of them (arXiv:2503.14476)",
    "bnpo": "TRL's name for an average over the tokens of a batch: the same as dapo here",
    "gspo": "Clipped ratios of completions (arXiv:2507.18071)",
    "cispo": "Clipped ratios as weights (arXiv:2506.13585)",
    "rloo": "Clipped ratios of the probabilities of completions (arXiv:2402.14740)",
}


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="stage",
            name="grpo",
            target="ft_plugin_grpo.stage:PolicyStage",
            summary="Group-relative policy optimisation from rewards (arXiv:2402.03300)",
            requires=("trainer:transformers", "addon:rollouts", "addon:rewards"),
        ),
        Component(
            kind="advantage",
            name="group",
            target="ft_plugin_grpo.advantages:Provider",
            summary="Rewards compared within the completions of a prompt (arXiv:2402.03300)",
            section="grpo",
        ),
        *(
            Component(
                kind="policy-loss",
                name=name,
                target="ft_plugin_grpo.losses:Provider",
                args={"name": name},
                summary=summary,
                section="grpo",
            )
            for name, summary in LOSSES.items()
        ),
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_grpo.config:GrpoConfig"]


@hookimpl
def ftk_hookspecs() -> list[str]:
    return ["ft_plugin_grpo.specs:PolicySpecs"]


@hookimpl
def ftk_select(config: Config) -> list[str]:
    return parts_of(config, "grpo", loss="grpo", advantage="group")


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    return problems_of(plan)
