"""What this plugin offers. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ft_plugin_data.config import DataConfig
from ftk.component import Component
from ftk.markers import hookimpl
from ftk.problems import Problem

from .config import DistillConfig

if TYPE_CHECKING:
    from ftk.plan import Plan


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="stage",
            name="distill",
            target="ft_plugin_distill.stage:Distill",
            summary="Learn the predictions of a teacher (arXiv:2306.13649)",
            requires=("trainer:transformers",),
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_distill.config:DistillConfig"]


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    config, data = plan.config[DistillConfig], plan.config[DataConfig]
    problems = []
    if not config.teacher_model:
        message = "stage: distill learns from a teacher, and teacher_model is not set"
        problems.append(Problem("error", message, "name a model with the student's vocabulary", "teacher_model"))
    for key in ("distill_beta", "distill_on_policy"):
        if not 0 <= (value := getattr(config, key)) <= 1:
            problems.append(Problem("error", f"{key}={value} is not between 0 and 1", "", key))
    if config.distill_temperature <= 0:
        message = f"distill_temperature={config.distill_temperature} is not positive"
        problems.append(Problem("error", message, "1 leaves predictions as they are", "distill_temperature"))
    if config.distill_top_k is None:
        return problems
    if config.distill_top_k < 1:
        message = f"distill_top_k={config.distill_top_k} is not positive"
        problems.append(Problem("error", message, "64 keeps nearly all of a prediction", "distill_top_k"))
    if config.distill_on_policy:
        message = "distill_top_k keeps what the teacher says of the data, and distill_on_policy asks it of new answers"
        problems.append(Problem("error", message, "unset one of the two", "distill_top_k"))
    if data.streaming:
        message = "distill_top_k asks the teacher about every row before training, which a stream does not show"
        problems.append(Problem("error", message, "unset streaming or distill_top_k", "streaming"))
    return problems
