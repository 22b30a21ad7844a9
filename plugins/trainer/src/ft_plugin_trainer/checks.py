"""Rules about the values of training keys. Pure, and nothing heavy: they run while planning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ftk.problems import Problem

from .config import CheckpointConfig, EarlyStoppingConfig, EvaluationConfig, ReportConfig, TrainerConfig

if TYPE_CHECKING:
    from ftk.compose import Config
    from ftk.plan import Plan

POSITIVE = (
    (TrainerConfig, ("per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs")),
    (EvaluationConfig, ("per_device_eval_batch_size",)),
    (EarlyStoppingConfig, ("early_stopping_steps",)),
    (CheckpointConfig, ("save_steps",)),
    (ReportConfig, ("logging_steps",)),
)
SHARED = {"adafactor", "adagrad", "adalomo", "ademamix", "grokadamw", "lomo", "rmsprop", "sgd"}
"""Optimizers that transformers has under a name that a component may have too."""
NOT_NEGATIVE = ("learning_rate", "warmup_steps", "weight_decay", "max_grad_norm")


def problems_of(plan: Plan) -> list[Problem]:
    config = plan.config
    return [*_numbers(config), *_precision(config), *_evaluation(config), *_resuming(config), *_optimizer(plan)]


def _optimizer(plan: Plan) -> Iterator[Problem]:
    """What transformers does not have, a plugin may, which is not installed."""
    name = plan.config[TrainerConfig].optim
    dist = plan.installed.index.catalog.components.get(f"optimizer:{name.replace('_', '-')}")
    if dist and name not in SHARED and not plan.of_kind("optimizer"):
        yield Problem("error", f"optim: {name!r} is provided by {dist}", f"pip install {dist}", "optim")


def _numbers(config: Config) -> Iterator[Problem]:
    for section, keys in POSITIVE:
        for key in keys:
            value = getattr(config[section], key)
            if value is not None and value <= 0:
                yield Problem("error", f"{key}={value!r} is not positive", "", key)
    trainer = config[TrainerConfig]
    for key in NOT_NEGATIVE:
        if (value := getattr(trainer, key)) < 0:
            yield Problem("error", f"{key}={value!r} is negative", "", key)
    if not 0 <= trainer.label_smoothing_factor < 1:
        message = f"label_smoothing_factor={trainer.label_smoothing_factor!r} is not between 0 and 1"
        yield Problem("error", message, "", "label_smoothing_factor")


def _precision(config: Config) -> Iterator[Problem]:
    trainer = config[TrainerConfig]
    wanted = [key for key in ("bf16", "fp16", "pure_bf16") if getattr(trainer, key)]
    if "fp16" in wanted and len(wanted) > 1:
        yield Problem("error", f"{' and '.join(wanted)} are both set", "keep one of them", wanted[0])


def _evaluation(config: Config) -> Iterator[Problem]:
    evaluation, checkpoints = config[EvaluationConfig], config[CheckpointConfig]
    when = evaluation.eval_strategy
    needs = {
        "load_best_model_at_end": evaluation.load_best_model_at_end,
        "early_stopping_steps": config[EarlyStoppingConfig].early_stopping_steps,
        "save_strategy": checkpoints.save_strategy == "best",
        "lr_scheduler_type": config[TrainerConfig].lr_scheduler_type in ("reduce_lr_on_plateau", "greedy"),
    }
    for key, wanted in needs.items():
        if wanted and when == "no":
            message = f"{key}={config.value(key)!r} needs evaluations during training"
            yield Problem("error", message, "set eval_strategy: steps, and eval_dataset or val_size", key)
    if not evaluation.load_best_model_at_end or when == "no" or checkpoints.save_strategy == "best":
        return
    every = evaluation.eval_steps or config[ReportConfig].logging_steps
    if checkpoints.save_strategy != when:
        message = f"load_best_model_at_end needs a checkpoint for each evaluation, but save_strategy is not {when!r}"
        yield Problem("error", message, f"set save_strategy: {when}", "load_best_model_at_end")
    elif when == "steps" and min(every, checkpoints.save_steps) >= 1 and checkpoints.save_steps % every:
        message = f"save_steps={checkpoints.save_steps!r} is not a multiple of eval_steps={every!r}"
        yield Problem("error", message, f"load_best_model_at_end needs that; set save_steps: {every}", "save_steps")


def _resuming(config: Config) -> Iterator[Problem]:
    path = config[CheckpointConfig].resume_from_checkpoint
    if isinstance(path, str) and not Path(path).is_dir():
        yield Problem("missing", f"there is no checkpoint {path!r}", "", "resume_from_checkpoint")
