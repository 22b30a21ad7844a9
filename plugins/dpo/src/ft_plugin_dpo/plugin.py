"""What this plugin offers. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ft_plugin_preference.checks import check_preference
from ft_plugin_preference.config import PreferenceConfig
from ftk.component import Component
from ftk.markers import hookimpl
from ftk.problems import Problem
from ftk.settings import RunConfig

if TYPE_CHECKING:
    from ftk.compose import Config
    from ftk.plan import Plan

LOSSES = {
    "sigmoid": "DPO (arXiv:2305.18290)",
    "hinge": "Hinge loss of SLiC on DPO's rewards (arXiv:2305.10425)",
    "ipo": "Identity preference optimisation (arXiv:2310.12036)",
    "exo_pair": "Efficient exact optimisation (arXiv:2402.00856)",
    "nca_pair": "Noise-contrastive alignment (arXiv:2402.05369)",
    "robust": "DPO for flipped labels (arXiv:2403.00409)",
    "bco_pair": "Binary classifier optimisation on pairs (arXiv:2404.04656)",
    "sppo_hard": "Self-play preference optimisation with hard labels (arXiv:2405.00675)",
    "aot": "Alignment by optimal transport, paired (arXiv:2406.05882)",
    "aot_unpaired": "Alignment by optimal transport, unpaired (arXiv:2406.05882)",
    "apo_zero": "Anchored preference optimisation, zero (arXiv:2408.06266)",
    "apo_down": "Anchored preference optimisation, down (arXiv:2408.06266)",
    "discopop": "Discovered preference optimisation (arXiv:2406.08414)",
    "sigmoid_norm": "DPO on means over tokens (arXiv:2411.15124)",
    "kto_pair": "KTO's value function on pairs (arXiv:2402.01306)",
    "sft": "Supervised loss of the chosen answer",
}
SMOOTHED = ("sigmoid", "robust", "exo_pair", "aot", "aot_unpaired")
"""Losses that ``dpo_label_smoothing`` is an argument of."""
WHOLE_BATCH = ("aot", "aot_unpaired", "kto_pair")
"""Losses in which pairs of a batch matter to each other."""


@hookimpl
def ftk_components() -> list[Component]:
    stage = Component(
        kind="stage",
        name="dpo",
        target="ft_plugin_dpo.dpo:Dpo",
        summary="Direct preference optimisation and its family of losses",
        requires=("trainer:transformers", "preference-loss:*"),
    )
    return [stage, *(_loss(name, summary) for name, summary in LOSSES.items())]


def _loss(name: str, summary: str) -> Component:
    return Component(
        kind="preference-loss",
        name=name,
        target="ft_plugin_dpo.dpo:DpoLoss",
        summary=summary,
        args={"name": name},
        section="dpo",
        requires=("stage:dpo",),
    )


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_dpo.config:DpoConfig"]


@hookimpl
def ftk_hookspecs() -> list[str]:
    return ["ft_plugin_dpo.specs:DpoSpecs"]


@hookimpl
def ftk_select(config: Config) -> list[str]:
    if config[RunConfig].stage != "dpo":
        return []
    return [f"preference-loss:{name}" for name in config[PreferenceConfig].pref_loss]


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    config = plan.config[PreferenceConfig]
    names, weights, eps = config.pref_loss, config.pref_loss_weights, config.dpo_label_smoothing
    problems = check_preference(plan)
    if not names:
        problems.append(Problem("error", "pref_loss is empty", "sigmoid is a usual loss", "pref_loss"))
    if len(set(names)) < len(names):
        problems.append(Problem("error", f"pref_loss names a loss twice: {', '.join(names)}", "weigh it", "pref_loss"))
    if weights is not None and len(weights) != len(names):
        message = f"pref_loss_weights has {len(weights)} numbers for {len(names)} losses"
        problems.append(Problem("error", message, "give one for each loss of pref_loss", "pref_loss_weights"))
    if eps and not set(names) & set(SMOOTHED):
        message = f"dpo_label_smoothing={eps} has no effect on {', '.join(names)}"
        hint = f"unset it, or use one of {', '.join(SMOOTHED)}"
        problems.append(Problem("error", message, hint, "dpo_label_smoothing"))
    if "exo_pair" in names and not eps:
        message = "pref_loss: 'exo_pair' compares with a distribution that dpo_label_smoothing=0 makes impossible"
        problems.append(Problem("error", message, "its paper has dpo_label_smoothing: 0.001", "dpo_label_smoothing"))
    coupled = [*(name for name in names if name in WHOLE_BATCH), *["pref_bco_weight"] * bool(config.pref_bco_weight)]
    if config.pref_dropout and coupled:
        message = f"pref_dropout: {coupled[0]} wants the same log-probabilities twice, which dropout would change"
        problems.append(Problem("error", message, "unset pref_dropout", "pref_dropout"))
    return problems
