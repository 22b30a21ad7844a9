"""Rules about the shared keys, for the ``ftk_check`` of stages. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftk.problems import Problem

from .config import PreferenceConfig

if TYPE_CHECKING:
    from ftk.plan import Plan


def check_preference(plan: Plan) -> list[Problem]:
    config = plan.config[PreferenceConfig]
    problems = []
    if config.pref_beta <= 0:
        message = f"pref_beta={config.pref_beta} must be above 0"
        problems.append(Problem("error", message, "0.1 is a usual value", "pref_beta"))
    if not 0 <= config.dpo_label_smoothing < 0.5:
        message = f"dpo_label_smoothing={config.dpo_label_smoothing} must be at least 0 and below 0.5"
        problems.append(Problem("error", message, "0.1 is a usual value", "dpo_label_smoothing"))
    if config.ld_alpha is not None and not 0 <= config.ld_alpha <= 1:
        message = f"ld_alpha={config.ld_alpha} must be from 0 to 1"
        problems.append(Problem("error", message, "unset it to let all tokens count alike", "ld_alpha"))
    for key in ("pref_ftx", "pref_bco_weight"):
        if getattr(config, key) < 0:
            problems.append(Problem("error", f"{key}={getattr(config, key)} is negative", "set it to 0 or more", key))
    return problems


def check_without_reference(plan: Plan, *, ignored: tuple[str, ...]) -> list[Problem]:
    """For a stage that has no reference, and that reads none of the ``ignored`` keys."""
    stage = ", ".join(c.name for c in plan.of_kind("stage"))
    problems = check_preference(plan)
    for key in ("pref_bco_weight", "precompute_ref_log_probs", "ref_model", "ref_model_adapters", *ignored):
        if plan.config.was_set(key) and plan.config.value(key):
            problems.append(Problem("error", f"{key} has no meaning for stage: {stage}", "unset it", key))
    return problems
