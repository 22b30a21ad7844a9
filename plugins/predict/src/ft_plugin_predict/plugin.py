"""What this plugin offers. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ft_plugin_data.config import DataConfig
from ftk.aliases import Alias
from ftk.component import Component
from ftk.markers import hookimpl
from ftk.problems import Problem
from ftk.settings import RunConfig

from .config import PredictConfig

if TYPE_CHECKING:
    from ftk.compose import Config
    from ftk.plan import Plan

ID = "predictor:generate"
STAGES = (None, "sft")
"""Stages for which ``do_predict`` alone means answers; other stages may have other predictions."""


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="predictor",
            name="generate",
            target="ft_plugin_predict.predict:Predict",
            summary="Generated answers to the evaluation data, with BLEU, ROUGE and exact matches",
            section="predict",
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_predict.config:PredictConfig"]


@hookimpl
def ftk_aliases() -> list[Alias]:
    return [
        Alias(old="eval_num_beams", new="generation_num_beams", note="another name of it", silent=True),
        Alias(old="sortish_sampler", new=None, note="ignored: evaluation data keeps its order"),
        Alias(old="generation_config", new=None, note="ignored: temperature, top_p and the like are keys of their own"),
    ]


@hookimpl
def ftk_select(config: Config) -> list[str]:
    settings = config[RunConfig]
    wanted = config[PredictConfig].predict_with_generate or (settings.do_predict and settings.stage in STAGES)
    return [ID] if wanted else []


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    if ID not in plan:
        return []
    data, own, settings = plan.config[DataConfig], plan.config[PredictConfig], plan.config[RunConfig]
    key = "do_predict" if settings.do_predict else "predict_with_generate"
    problems = []
    if settings.do_predict and not data.eval_dataset and not data.val_size:
        message = "do_predict is set, but there is no evaluation data"
        problems.append(Problem("error", message, "set eval_dataset, or val_size: 0.1", key))
    if "stage:pt" in plan:
        problems.append(Problem("error", f"{key}: raw text holds no answers", "set stage: sft", key))
    if data.train_on_prompt:
        message = f"{key} asks for the last answer of a row, and with train_on_prompt nothing tells where it begins"
        problems.append(Problem("error", message, "unset train_on_prompt", "train_on_prompt"))
    for name in ("generation_max_length", "generation_num_beams"):
        value = getattr(own, name)
        if value is not None and value < 1:
            problems.append(Problem("error", f"{name}={value} is not positive", "", name))
    return problems
