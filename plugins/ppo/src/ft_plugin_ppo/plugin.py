"""What this plugin offers. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ft_plugin_data.config import DataConfig
from ft_plugin_generate.config import GenerateConfig
from ftk.aliases import Alias
from ftk.component import Component
from ftk.markers import hookimpl
from ftk.problems import Problem

from .config import PpoConfig

if TYPE_CHECKING:
    from ftk.compose import Config
    from ftk.plan import Plan


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="stage",
            name="ppo",
            target="ft_plugin_ppo.stage:Ppo",
            summary="Proximal policy optimisation from rewards (arXiv:1707.06347, arXiv:2203.02155)",
            requires=("trainer:transformers", "addon:rollouts", "addon:rewards"),
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_ppo.config:PpoConfig"]


@hookimpl
def ftk_aliases() -> list[Alias]:
    names = {"clip_range": "ppo_clip_ratio", "gamma": "ppo_gamma", "lam": "ppo_lam"}
    return [Alias(old=old, new=new, note=f"another name of {new!r}", silent=True) for old, new in names.items()]


@hookimpl
def ftk_select(config: Config) -> list[str]:
    return ["addon:rollouts", "addon:rewards"] if config.value("stage") == "ppo" else []


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    own = plan.config[PpoConfig]
    rules = [
        ("ppo_epochs", own.ppo_epochs < 1, "must be at least 1"),
        ("ppo_buffer_size", own.ppo_buffer_size < 1, "must be at least 1"),
        ("ppo_kl_coeff", own.ppo_kl_coeff < 0, "is negative"),
        ("ppo_kl_horizon", own.ppo_kl_horizon < 1, "must be at least 1"),
        ("ppo_target", own.ppo_target is not None and own.ppo_target <= 0, "must be above 0, or null"),
        ("ppo_gamma", not 0 <= own.ppo_gamma <= 1, "is not between 0 and 1"),
        ("ppo_lam", not 0 <= own.ppo_lam <= 1, "is not between 0 and 1"),
        ("ppo_clip_ratio", own.ppo_clip_ratio <= 0, "must be above 0"),
        ("ppo_clip_value", own.ppo_clip_value <= 0, "must be above 0"),
        ("ppo_value_coeff", own.ppo_value_coeff < 0, "is negative"),
    ]
    problems = [Problem("error", f"{key}={getattr(own, key)!r} {what}", "", key) for key, bad, what in rules if bad]
    if plan.config[DataConfig].streaming:
        message = "stage: ppo draws a batch of prompts for several steps, which streaming does not give"
        problems.append(Problem("error", message, "unset streaming", "streaming"))
    if not plan.config[GenerateConfig].do_sample:
        message = "do_sample: false tries nothing but what the policy does anyway"
        problems.append(Problem("error", message, "unset it", "do_sample"))
    return problems
