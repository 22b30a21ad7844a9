"""``rollouts.jsonl``: what the model said while it was trained, and what came of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ft_plugin_trainer.log import cut
from ftk.markers import hookimpl
from ftk.run import Run

from .config import RolloutsConfig

FILE = "rollouts.jsonl"


class RolloutLogs:
    @hookimpl
    def ftk_callbacks(self, run: Run) -> list[TrainerCallback]:
        return [CutLog(run.output_dir / FILE)]


class CutLog(TrainerCallback):
    """Drops what a resumed run writes anew, and what an earlier run left when this one starts afresh."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            cut(self.path, state.global_step)


def write(run: Run, step: int, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append rows of the step that is being made, the first ``rollouts_logged`` of them; the first process alone.

    step  optimizer steps made so far; the log counts the one that is being made
    """
    wanted = run.config[RolloutsConfig].rollouts_logged
    if not wanted or os.environ.get("RANK", "0") != "0":
        return
    with (run.output_dir / FILE).open("a", encoding="utf-8") as f:
        for row in rows if wanted < 0 else islice(rows, wanted):
            f.write(json.dumps({"current_steps": step + 1, **row}, ensure_ascii=False, default=str) + "\n")
