"""Rules on the data keys that need values. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ftk.problems import Problem
from ftk.settings import RunConfig

from .config import DataConfig
from .limits import drop_limit
from .registry import Unusable, absent_files, entry_warnings, find

if TYPE_CHECKING:
    from ftk.compose import Config

POSITIVE = ("cutoff_len", "buffer_size", "preprocessing_batch_size", "preprocessing_num_workers", "max_samples")


def check(config: Config) -> list[Problem]:
    """Everything that can be said about the data keys before any data is read."""
    cfg, settings = config[DataConfig], config[RunConfig]
    return [
        *_presence(cfg, settings),
        *_names("dataset", cfg.dataset, cfg),
        *_names("eval_dataset", cfg.eval_dataset, cfg),
        *_numbers(config),
        *_mixing(config),
        *_evaluation(config),
        *_streaming(config),
    ]


def _presence(cfg: DataConfig, settings: RunConfig) -> Iterator[Problem]:
    if settings.trains and not cfg.dataset:
        hint = "name a file, a folder, hf:org/name, or a name of dataset_info.json"
        yield Problem("missing", "dataset is not set", hint, "dataset")
    if settings.do_eval and not cfg.eval_dataset and not cfg.val_size:
        message = "do_eval is set, but there is nothing to evaluate on"
        yield Problem("error", message, "set eval_dataset, or val_size: 0.1", "do_eval")


def _names(key: str, names: list[str] | None, cfg: DataConfig) -> Iterator[Problem]:
    for name in names or ():
        try:
            problem = absent_files(find(name, cfg.dataset_dir))
            notes = entry_warnings(name, cfg.dataset_dir)
        except Unusable as e:
            problem, notes = e.problem, []
        for p in [problem, *notes]:
            if p is not None:
                yield Problem(p.level, p.message, p.hint, key, p.origin)


def _numbers(config: Config) -> Iterator[Problem]:
    for key in POSITIVE:
        value = config.value(key)
        if value is not None and value < 1:
            yield Problem("error", f"{key}={value} is not positive", "", key)
    try:
        drop_limit(config.value("max_drop"), 1)
    except ValueError as e:
        yield Problem("error", str(e), "write a number of rows, or a percentage such as 1%", "max_drop")
    if config.value("mask_history") and config.value("train_on_prompt"):
        message = "mask_history and train_on_prompt contradict each other: one masks earlier turns, the other none"
        yield Problem("error", message, "keep one of the two", "mask_history")


def _mixing(config: Config) -> Iterator[Problem]:
    strategy, odds = config.value("mix_strategy"), config.value("interleave_probs")
    count = len(config.value("dataset") or ())
    if odds is None:
        return
    if strategy == "concat":
        yield Problem(
            "error", "interleave_probs needs interleaving", "set mix_strategy: interleave_under", "interleave_probs"
        )
    if len(odds) != count:
        message = f"interleave_probs has {len(odds)} numbers for {count} datasets"
        yield Problem("error", message, "give one for each dataset", "interleave_probs")
    elif min(odds) < 0 or abs(sum(odds) - 1) > 1e-6:
        message = f"interleave_probs={odds} are not probabilities"
        yield Problem("error", message, "none may be negative, and the sum must be 1", "interleave_probs")


def _evaluation(config: Config) -> Iterator[Problem]:
    size, others = config.value("val_size"), config.value("eval_dataset")
    if size < 0 or (size > 1 and size != int(size)):
        yield Problem("error", f"val_size={size} is neither a fraction nor a number of rows", "0.1, or 100", "val_size")
    if size and others:
        message = "val_size and eval_dataset both say what to evaluate on"
        yield Problem("error", message, "keep one of the two", "val_size")
    if size and not config.value("dataset"):
        yield Problem("error", "val_size takes its rows from dataset, which is not set", "", "val_size")
    if config.value("eval_on_each_dataset") and not others:
        yield Problem("warning", "eval_on_each_dataset has no effect without eval_dataset", "", "eval_on_each_dataset")


def _streaming(config: Config) -> Iterator[Problem]:
    if not config.value("streaming"):
        return
    if not config.was_set("max_steps") or config.value("max_steps") < 1:
        yield Problem(
            "error", "streaming needs max_steps: the length of a stream is not known", "set max_steps", "streaming"
        )
    if 0 < config.value("val_size") < 1:
        yield Problem("error", "a fraction of a stream is not known", "give val_size as a number of rows", "val_size")
    for key in ("tokenized_path", "max_drop"):
        if config.was_set(key) and config.value(key):
            yield Problem("error", f"{key} needs all rows, which streaming does not read", "unset one of the two", key)
