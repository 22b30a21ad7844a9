"""The part of the trainer that writes checkpoints and results: whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME, TRAINING_ARGS_NAME
from transformers.trainer_callback import ExportableState
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME

from ftk import lock
from ftk.unused import report_unread

from . import modules
from .files import discard, publish, publish_files, staging_of
from .objective import Objective, Sums
from .resuming import checkpoints
from .stream import Reading

if TYPE_CHECKING:
    from ftk.run import Run

LOG_STATE = "log_state.json"
"""What has been summed up since the last log entry, so that the first one of a resumed run is the right mean."""

STATE = "objective-{}.safetensors"
"""What the objective keeps, of the process with this number."""

MARKERS = (CONFIG_NAME, "adapter_config.json", SAFE_WEIGHTS_INDEX_NAME)
"""Files by which readers recognise a model or an adapter."""


class WholeCheckpoints(transformers.Trainer):
    """Overrides how ``transformers.Trainer`` saves; what it saves stays the same."""

    objective: Objective
    _modules: dict[str, nn.Module]
    """What the objective trains beside the model."""
    _log_sums: Sums
    _reading: Reading | None
    save_total_limit: int | None
    """In place of the argument of that name, by which transformers would delete file by file."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.store_flos()
        final = Path(self.args.output_dir, f"checkpoint-{self.state.global_step}")
        staging = staging_of(final)
        self.save_model(str(staging), _internal_call=True)
        if not self.args.save_only_model:
            self._save_optimizer_and_scheduler(str(staging))
            self._save_scaler(str(staging))
            self._save_rng_state(str(staging))
            self._save_objective(staging)
            if self._reading is not None and self.args.should_save:
                self._reading.save(self, staging)
        log_state = self._log_state()
        if self.args.should_save:
            self._note_best(final)
            self._note_callbacks()
            self.state.save_to_json(str(staging / TRAINER_STATE_NAME))
            (staging / LOG_STATE).write_text(json.dumps(log_state), encoding="utf-8")
            if (plan := Path(self.args.output_dir, lock.FILE)).is_file():
                shutil.copy(plan, staging / lock.FILE)
        self._together(lambda: publish(staging, final), staging)
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(final))
        if self.args.should_save:
            self._rotate()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model and its tokenizer; by default to the output folder, whose other files stay."""
        folder = Path(output_dir or self.args.output_dir)
        if _internal_call:
            return super().save_model(str(folder), _internal_call=True)
        staging = staging_of(folder / "model")
        super().save_model(str(staging), _internal_call=True)
        self._together(lambda: publish_files(staging, folder, markers=MARKERS), staging)
        if self.args.push_to_hub:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)
        return None

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        folder = Path(output_dir or self.args.output_dir)
        if self.args.should_save:
            modules.save(self._modules, folder)
        # A pickle that nothing reads: plan.json says how the model was trained.
        (folder / TRAINING_ARGS_NAME).unlink(missing_ok=True)

    def _save_objective(self, folder: Path) -> None:
        if state := self.objective.state():
            folder.mkdir(parents=True, exist_ok=True)
            tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
            save_file(tensors, folder / STATE.format(self.args.process_index))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        modules.load(self._modules, Path(resume_from_checkpoint))
        path = Path(resume_from_checkpoint, STATE.format(self.args.process_index))
        if path.is_file():
            self.objective.restore(load_file(path))

    def _load_best_model(self) -> None:
        super()._load_best_model()
        modules.load(self._modules, Path(str(self.state.best_model_checkpoint)))

    def save_state(self) -> None:
        if self.is_world_process_zero():
            path = Path(self.args.output_dir, TRAINER_STATE_NAME)
            partial = path.with_name(f".{path.name}")
            self.state.save_to_json(str(partial))
            partial.replace(path)

    def save_metrics(self, split: str, metrics: dict[str, float], combined: bool = True) -> None:
        """Write ``<split>_results.json``, and add the metrics to ``all_results.json``."""
        if not self.is_world_process_zero():
            return
        folder = Path(self.args.output_dir)
        lock.write_json(folder / f"{split}_results.json", metrics)
        if combined:
            everything = folder / "all_results.json"
            before = json.loads(everything.read_text(encoding="utf-8")) if everything.exists() else {}
            lock.write_json(everything, before | metrics)

    def _together(self, finish: Any, staging: Path) -> None:
        """Run ``finish`` once for each file system with a staging folder, when every process has written there."""
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero() and staging.exists():
            finish()
        self.accelerator.wait_for_everyone()
        if self.is_local_process_zero() and staging.exists():
            finish()
        self.accelerator.wait_for_everyone()

    def _note_best(self, current: Path) -> None:
        if (step := self.state.best_global_step) is not None:
            best = current.with_name(f"checkpoint-{step}")
            if best == current or best.is_dir():
                self.state.best_model_checkpoint = str(best)

    def _note_callbacks(self) -> None:
        for callback in [*self.callback_handler.callbacks, self.control]:
            if isinstance(callback, ExportableState):
                name, stored = type(callback).__name__, self.state.stateful_callbacks
                if isinstance(stored.get(name), list):
                    stored[name].append(callback.state())
                else:
                    stored[name] = callback.state()

    def _rotate(self) -> None:
        """Delete the oldest checkpoints beyond ``save_total_limit``, but neither the newest nor the best one."""
        found = checkpoints(Path(self.args.output_dir))
        old = [p for p in found[:-1] if str(p) != self.state.best_model_checkpoint]
        limit = self.save_total_limit or 0
        for path in old[: max(0, len(found) - limit)] if limit > 0 else ():
            discard(path)

    def _log_state(self) -> dict[str, Any]:
        loss = self.accelerator.reduce(self._tr_loss, "mean")
        return {
            "loss": loss.item(),
            "dtype": str(loss.dtype).removeprefix("torch."),
            "total_loss": self._total_loss_scalar,
            "last_logged": self._globalstep_last_logged,
            "sums": {
                name: [self.accelerator.reduce(part.clone(), "sum").item() for part in pair]
                for name, pair in self._log_sums.items()
            },
        }


class ReportUnread(TrainerCallback):
    """Tells of keys that nothing has read once everything is built, the optimizer too, and before the first step."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        report_unread(self.run)


class RestoreLogState(TrainerCallback):
    """Puts the sums of an unfinished log entry back, where transformers begins with empty ones."""

    def __init__(self, trainer: WholeCheckpoints, checkpoint: Path | None) -> None:
        self.trainer, self.path = trainer, checkpoint and checkpoint / LOG_STATE

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        trainer = self.trainer
        trainer._log_sums = {}
        if self.path is None or not self.path.is_file():
            return
        state = json.loads(self.path.read_text(encoding="utf-8"))
        dtype = getattr(torch, state["dtype"])
        trainer._tr_loss = torch.tensor(state["loss"], dtype=dtype, device=trainer.args.device)
        trainer._total_loss_scalar = state["total_loss"]
        trainer._globalstep_last_logged = state["last_logged"]
        if trainer.is_world_process_zero():
            trainer._log_sums = {
                name: tuple(torch.tensor(x, dtype=torch.float64) for x in pair) for name, pair in state["sums"].items()
            }
