"""What transformers' Trainer is told: the keys that the user set, what other components ask for, and what is fixed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from accelerate import ParallelismConfig
from transformers import TrainerCallback, TrainingArguments, set_seed

from ftk.markers import hookimpl
from ftk.problems import RunError

from .config import FORWARDED, OURS, LoadingConfig, TrainerConfig
from .log import TrainerLog

if TYPE_CHECKING:
    from ftk.run import Run


class TransformersTrainer:
    """The component: hands the user's keys to whatever trainer the stage builds, and writes the log."""

    @hookimpl
    def ftk_training_args(self, run: Run) -> dict[str, Any]:
        # The first hook before weights are drawn: adapters start from random ones.
        set_seed(run.seed)
        arguments = user_arguments(run)
        training_arguments(run, arguments)  # refused now rather than after a large model is loaded
        return arguments

    @hookimpl
    def ftk_callbacks(self, run: Run) -> list[TrainerCallback]:
        return [TrainerLog(run.output_dir)]


def user_arguments(run: Run) -> dict[str, Any]:
    """The keys of ``TrainingArguments`` that the user set, in the form that it takes them."""
    given: dict[str, Any] = {}
    for section in FORWARDED:
        given |= {key: value for key, value in run.config.given(section).items() if key not in OURS}
    if run.plan.of_kind("optimizer"):
        given.pop("optim", None)  # the name of a component, built by its plugin
    if run.config[LoadingConfig].disable_shuffling:
        given.setdefault("train_sampling_strategy", "sequential")
    if isinstance(config := given.get("parallelism_config"), dict):
        given["parallelism_config"] = ParallelismConfig(**config)
    if not torch.accelerator.is_available():
        if run.config[TrainerConfig].fp16:
            raise RunError("fp16 has no effect without an accelerator", "set bf16: true instead, or neither")
        given.setdefault("use_cpu", True)  # or bf16 is refused
    return given


def training_arguments(run: Run, wanted: Mapping[str, Any]) -> TrainingArguments:
    """``wanted``: the merged results of ``ftk_training_args``. Raises RunError where transformers refuses them."""
    fixed = {
        "output_dir": str(run.output_dir),
        "seed": run.seed,
        # The stage's collator and objective know the columns; a model's signature does not.
        "remove_unused_columns": False,
        "label_names": ["labels"],
        # The trainer stops at such a loss; transformers would hide it.
        "logging_nan_inf_filter": False,
    }
    try:
        args = TrainingArguments(**(fixed | dict(wanted)))
    except (ValueError, TypeError, ImportError) as e:
        raise RunError(f"the training arguments are refused: {str(e).splitlines()[0]}") from e
    # Several accelerators in one process would be torch's DataParallel, which no adapter supports.
    args._n_gpu = min(args.n_gpu, 1)
    return args
