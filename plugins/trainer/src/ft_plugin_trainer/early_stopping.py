"""Stop when evaluations no longer improve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ftk.markers import hookimpl

from .config import EarlyStoppingConfig


class EarlyStopping:
    @hookimpl
    def ftk_callbacks(self, run) -> list[TrainerCallback]:
        return [StopWithoutImprovement(run.config[EarlyStoppingConfig].early_stopping_steps)]


class StopWithoutImprovement(TrainerCallback):
    """Has no state but the trainer's log history, so that a resumed run stops where the uninterrupted one does."""

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.on_evaluate(args, state, control)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        metric = args.metric_for_best_model or "loss"
        metric = metric if metric.startswith("eval_") else f"eval_{metric}"
        greater = not metric.endswith("loss") if args.greater_is_better is None else args.greater_is_better
        if evaluations_since_best(state.log_history, metric, greater_is_better=greater) >= self.patience:
            control.should_training_stop = True


def evaluations_since_best(history: Sequence[Mapping[str, Any]], metric: str, *, greater_is_better: bool) -> int:
    """How many evaluations in a row have not beaten the best one before them."""
    values = [entry[metric] if greater_is_better else -entry[metric] for entry in history if metric in entry]
    return len(values) - 1 - values.index(max(values)) if values else 0
