"""What this plugin offers. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ft_plugin_data.config import DataConfig
from ft_plugin_preference.config import PreferenceConfig
from ftk.aliases import Alias
from ftk.component import Component
from ftk.markers import hookimpl
from ftk.problems import Problem

from .config import KtoConfig

if TYPE_CHECKING:
    from ftk.plan import Plan


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="stage",
            name="kto",
            target="ft_plugin_kto.stage:Kto",
            summary="Learn from single answers and verdicts on them (arXiv:2402.01306)",
            requires=("trainer:transformers",),
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_kto.config:KtoConfig"]


@hookimpl
def ftk_aliases() -> list[Alias]:
    return [
        Alias(old=old, new=new, note=f"another name of {new!r}", silent=True)
        for old, new in (("desirable_weight", "kto_chosen_weight"), ("undesirable_weight", "kto_rejected_weight"))
    ]


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    kto, preference = plan.config[KtoConfig], plan.config[PreferenceConfig]
    problems = []
    if plan.config[DataConfig].streaming and kto.kto_loss == "kto":
        message = "stage: kto pairs prompts with answers of other rows, which a stream does not show"
        problems.append(Problem("error", message, "unset streaming, or set kto_loss: apo_zero_unpaired", "streaming"))
    if preference.pref_beta <= 0:
        message = f"pref_beta={preference.pref_beta} is not positive"
        problems.append(Problem("error", message, "0.1 is a usual value", "pref_beta"))
    for key, value in (
        ("kto_chosen_weight", kto.kto_chosen_weight),
        ("kto_rejected_weight", kto.kto_rejected_weight),
        ("pref_ftx", preference.pref_ftx),
    ):
        if value < 0:
            problems.append(Problem("error", f"{key}={value} is negative", "", key))
    return problems
