"""The loss curve as a picture."""

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
    """Draw ``loss`` as logged and smoothed, and every ``eval_..._loss``, over the steps. Nothing logged: no picture."""
    figure = Figure(figsize=(8, 5))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="step", ylabel="loss")
    steps, losses = _series(history, "loss")
    if steps:
        axes.plot(steps, losses, color="tab:blue", alpha=0.35, label="loss")
        axes.plot(steps, smoothed(losses), color="tab:blue", label="loss, smoothed")
    names = sorted({key for entry in history for key in entry if key.startswith("eval_") and key.endswith("loss")})
    for name in names:
        axes.plot(*_series(history, name), marker="o", label=name)
    if not steps and not names:
        return
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


def _series(history: Sequence[Mapping[str, Any]], key: str) -> tuple[list[int], list[float]]:
    entries = [entry for entry in history if key in entry]
    return [entry["step"] for entry in entries], [entry[key] for entry in entries]
