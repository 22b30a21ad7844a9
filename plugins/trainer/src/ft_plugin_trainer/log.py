"""``trainer_log.jsonl``: one line for each log entry, with the keys that LLaMA-Factory's tools read."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from .files import replace_text

FILE = "trainer_log.jsonl"
RENAMED = {
    "learning_rate": "lr",
    "num_input_tokens_seen": "total_tokens",
    "train_tokens_per_second": "throughput",
    "train_runtime": "runtime",
}
SUMMARY = "train_loss"
"""In transformers' last entry alone, which sums the run up: it belongs to train_results.json."""


class TrainerLog(TrainerCallback):
    """Appends to the log as the run goes; the first process alone."""

    def __init__(self, output_dir: Path) -> None:
        self.path = output_dir / FILE
        self.began = (0.0, 0)
        """When this process began to train, and at which step."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.began = (time.monotonic(), state.global_step)
        if state.is_world_process_zero:
            cut(self.path, state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not state.is_world_process_zero or not logs or SUMMARY in logs:
            return
        entry = {"current_steps": state.global_step, "total_steps": state.max_steps}
        entry |= {RENAMED.get(key, key): value for key, value in logs.items()}
        if state.max_steps > 0:
            entry["percentage"] = round(100 * state.global_step / state.max_steps, 2)
        entry |= self._times(state)
        with self.path.open("a", encoding="utf-8") as f:
            f.write(json.dumps(entry) + "\n")

    def _times(self, state: TrainerState) -> dict[str, str]:
        start, first_step = self.began
        done = state.global_step - first_step
        if not start or done <= 0:
            return {}
        elapsed = time.monotonic() - start
        remaining = elapsed / done * max(state.max_steps - state.global_step, 0)
        return {"elapsed_time": _clock(elapsed), "remaining_time": _clock(remaining)}


def cut(path: Path, step: int) -> None:
    """Drop the entries of later steps, which a resumed run writes anew, and a line that was never finished."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if _step(line) is not None and _step(line) <= step]
    if kept != lines:
        replace_text(path, "".join(kept))


def _step(line: str) -> int | None:
    try:
        return int(json.loads(line)["current_steps"])
    except (ValueError, KeyError, TypeError):
        return None


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=int(seconds)))
