"""The curves of the loss and of rewards as a picture."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ftk.markers import hookimpl

FILE = "training_loss.png"
CURVES = ("loss", "reward", "rewards/margins", "rewards/accuracies", "accuracy")
"""What is drawn, each in axes of its own, if it is logged."""
WINDOW = 20
"""The smoothed curve's memory, as a share of the run: a twentieth."""


class PlotLoss:
    @hookimpl
    def ftk_callbacks(self, run) -> list[TrainerCallback]:
        return [DrawAtEnd(run.output_dir)]


class DrawAtEnd(TrainerCallback):
    def __init__(self, output_dir: Path) -> None:
        self.path = output_dir / FILE

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            draw(state.log_history, self.path)


def draw(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw ``CURVES``, those that there are, as logged and smoothed, with those of evaluations, over steps.

    Nothing logged: no picture.
    """
    shown = [curve for curve in CURVES if any(_names(history, curve))]
    if not shown:
        return
    figure = Figure(figsize=(8, 5 if len(shown) == 1 else 4 * len(shown)))
    FigureCanvasAgg(figure)
    for place, curve in enumerate(shown, 1):
        axes = figure.add_subplot(len(shown), 1, place, xlabel="step", ylabel=curve)
        steps, values = _series(history, curve)
        if steps:
            axes.plot(steps, values, color="tab:blue", alpha=0.35, label=curve)
            axes.plot(steps, smoothed(values), color="tab:blue", label=f"{curve}, smoothed")
        for i, name in enumerate(sorted(_names(history, curve) - {curve}), 1):
            axes.plot(*_series(history, name), marker="o", color=f"C{i}", label=name)
        axes.legend()
        axes.grid(alpha=0.3)
    partial = path.with_name(f".{path.name}")
    figure.savefig(partial, format="png", dpi=120, bbox_inches="tight")
    os.replace(partial, path)


def smoothed(values: Sequence[float]) -> list[float]:
    """Exponential moving average whose first values are not drawn towards zero."""
    decay = 1 - 1 / max(1, len(values) / WINDOW)
    total = weight = 0.0
    out = []
    for value in values:
        total, weight = decay * total + value, decay * weight + 1
        out.append(total / weight)
    return out


def _names(history: Sequence[Mapping[str, Any]], curve: str) -> set[str]:
    """The curve itself and those of evaluations: ``eval_loss``, ``eval_other_loss``."""
    names = {key for entry in history for key in entry}
    return {name for name in names if name == curve or (name.startswith("eval_") and name.endswith(curve))}


def _series(history: Sequence[Mapping[str, Any]], key: str) -> tuple[list[int], list[float]]:
    entries = [entry for entry in history if key in entry]
    return [entry["step"] for entry in entries], [entry[key] for entry in entries]
