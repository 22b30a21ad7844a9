"""transformers' Trainer, made exact: one loss whatever way a global batch is cut, and runs that resume exactly."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers.trainer_pt_utils import find_batch_size
from transformers.trainer_utils import EvalLoopOutput, TrainOutput, has_length

from ftk.contracts import Parts
from ftk.problems import RunError

from .arguments import training_arguments
from .checkpoints import ReportUnread, RestoreLogState, WholeCheckpoints
from .compiling import compile_layers, failing_kindly, wants_compiled
from .config import LoadingConfig, ReportConfig, TrainerConfig
from .log import SUMMARY
from .microbatches import Rows, Several, by_cost, by_length, must_agree, shared_out
from .modules import attach
from .objective import Batch, Objective, Sums, balances_experts
from .precision import train_in_float32
from .resuming import clear, starting_point
from .stream import Reading, for_evaluation, is_stream

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from ftk.run import Run

REPEATED = "repeated"
"""In a batch whose rows another process has too: they count nothing."""


class FtkTrainer(WholeCheckpoints):
    """Trains ``parts.model`` on the mean of an objective over each global batch."""

    loss_is_scaled_for_ga = True
    """To transformers: ``compute_loss`` has divided already."""

    def __init__(self, run: Run, parts: Parts, objective: Objective) -> None:
        self.run, self.objective = run, objective
        self._modules = objective.modules()
        attach(parts.model, self._modules)
        self._reports = run.config[ReportConfig]
        self._log_sums: Sums = {}
        self._eval_sums: Sums = {}
        self.measures: list[Callable[[nn.Module, Batch, bool], Sums]] = []
        """What else is summed in evaluations, for those who wrap the trainer: of a model and a batch, which counts or
        not."""
        self._trained_tokens = 0
        self._reading = Reading(parts.train_dataset) if is_stream(parts.train_dataset) else None
        if parts.template is not None and parts.template.jinja:
            parts.tokenizer.chat_template = parts.template.jinja  # saved beside the weights that it trained
        wanted = dict(parts.args)
        if not run.config[TrainerConfig].pure_bf16 and (autocast := train_in_float32(parts.model, wanted)):
            run.logger.info("trained weights are in float32, frozen ones are not: computing as with %s: true", autocast)
            wanted[autocast] = True
        try:
            super().__init__(
                model=parts.model,
                args=training_arguments(run, wanted),
                data_collator=parts.encoder.collate,
                train_dataset=parts.train_dataset if self._reading is None else self._reading.data,
                eval_dataset=for_evaluation(parts.eval_dataset),
                processing_class=parts.tokenizer,
                callbacks=list(parts.callbacks),
            )
        except ValueError as e:
            raise RunError(f"transformers refuses this run: {str(e).splitlines()[0]}") from e
        self.save_total_limit, self.args.save_total_limit = self.args.save_total_limit, None

    def train(self) -> TrainOutput:
        """Train, from where an earlier run of the same output folder stopped if there is one, and save the result."""
        if self.is_world_process_zero():
            clear(self.run)
        self.accelerator.wait_for_everyone()
        checkpoint = starting_point(self.run)
        self.args.eval_on_start = self.args.eval_on_start and checkpoint is None
        self.add_callback(RestoreLogState(self, checkpoint))
        self.add_callback(ReportUnread(self.run))
        if self._reading is not None:
            self._reading.begin(self, checkpoint)
        with failing_kindly():
            if wants_compiled(config := self.run.config[TrainerConfig]):
                n = compile_layers(self.model, config)
                self.run.logger.info("torch_compile: %d layers; the first steps wait for the compiler", n)
            output = super().train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        self.save_model()
        self.save_state()
        self.save_metrics("train", output.metrics)
        if self.args.should_save:
            self._rotate()
        return output

    def _run_epoch(self, **kwargs: Any) -> None:
        # A run resumed where it had ended has nothing to do; transformers would make one more step.
        if self.state.global_step >= self.state.max_steps or self.control.should_training_stop:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(**kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        metrics = super().evaluate(*args, **kwargs)
        if not self.is_in_train:
            self.save_metrics("eval", metrics)
        return metrics

    # Optimizer and schedule: a component's, or else transformers'.

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            self.optimizer = self.run.build_optimizer(self.model if model is None else model)
        return super().create_optimizer(model)

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        if self.lr_scheduler is None:
            self.lr_scheduler = self.run.build_scheduler(optimizer or self.optimizer, num_training_steps)
            self._created_lr_scheduler = self.lr_scheduler is not None
        return super().create_scheduler(num_training_steps, optimizer)

    def get_train_dataloader(self) -> DataLoader:
        if not self._cuts():
            return super().get_train_dataloader()
        self.data_collator, collate = Rows.collate, self.data_collator
        try:
            return super().get_train_dataloader()
        finally:
            self.data_collator = collate

    def _cuts(self) -> bool:
        """Whether rows are collated only when the whole global batch is there."""
        if not self.run.config[LoadingConfig].sort_micro_batches or type(self.objective).length is Objective.length:
            return False
        # accelerate's dispatcher, through which the batches of a stream pass, takes tensors only.
        return has_length(self.train_dataset) and not self.args.accelerator_config.dispatch_batches

    def _cut(self, batches: list[Rows]) -> list[Rows]:
        fixed = must_agree(self.accelerator, self.model_wrapped) or (len(batches) == 1 and self.objective.whole)
        # Experts are balanced within each micro-batch: smaller ones would be another objective.
        if fixed or balances_experts(self.model):
            return by_length(batches, self.objective.length)
        return by_cost(batches, self.objective.length, device=self.args.device.type)

    # One optimizer step: the sum of losses over all micro-batches and processes, divided by the number of targets.

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], torch.Tensor | None]:
        batches = [self._without_repeats(batch) for batch in itertools.islice(epoch_iterator, num_batches)]
        if not batches:
            return [], None
        if self._reading is not None:
            self._reading.drawn(self)
        places = len(batches)
        if isinstance(batches[0], Rows):
            batches = [self._collated(rows) for rows in self._cut(batches)]
        self.model_wrapped.train()  # transformers says so later, and an evaluation may have been before
        batches = self._begun(self.model_wrapped, batches)
        count = torch.stack([self._count(batch).to(device) for batch in batches]).sum()
        count = self.accelerator.reduce(count, "sum")
        # Processes that share their rows have counted them several times.
        copies = self.get_tp_size() * self.get_cp_size() * self.get_sp_size()
        return shared_out(batches, places), count / copies if copies > 1 else count

    def _begun(self, model: nn.Module, batches: list[Batch]) -> list[Batch]:
        """The step's micro-batches as the objective makes them."""
        if type(self.objective).begin_step is Objective.begin_step:
            return batches
        self.objective.step = self.state.global_step
        counted = [batch for batch in batches if REPEATED not in batch]
        self.objective.counts = bool(counted)
        drawn = [{key: value for key, value in batch.items() if key != REPEATED} for batch in counted or batches]
        made = self.objective.begin_step(model, drawn)
        if not counted:
            made = [batch | {REPEATED: True} for batch in made]
        missing = len(batches) - len(made) if must_agree(self.accelerator, self.model_wrapped) else 0
        return made + [made[-1] | {REPEATED: True}] * missing

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        sums = self._sums(model, inputs)
        loss, _ = sums.pop("loss")
        add_up(self._log_sums, sums)
        if self._reports.include_effective_tokens_per_second:
            self._trained_tokens += int(inputs.get("attention_mask", inputs["input_ids"] >= 0).sum())
        # Wrappers for several processes average gradients, but the loss is a sum over processes.
        return loss / num_items_in_batch * (self.accelerator.num_processes // self.get_tp_size())

    def training_step(
        self, model: nn.Module, inputs: Batch, num_items_in_batch: torch.Tensor | None = None
    ) -> torch.Tensor:
        parts = inputs.parts if isinstance(inputs, Several) else [inputs]
        loss = torch.zeros((), device=self.args.device)
        for i, part in enumerate(parts, 1):
            with self.accelerator.no_sync(model) if i < len(parts) else contextlib.nullcontext():
                loss = loss + super().training_step(model, part, num_items_in_batch)
        self._tr_loss = self._tr_loss.to(torch.promote_types(self._tr_loss.dtype, loss.dtype))
        if self.accelerator.sync_gradients:
            self._require_finite("loss", self._tr_loss + loss)
        return loss

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        if getattr(self.accelerator, "scaler", None) is None:  # which skips such steps itself
            self._require_finite("gradient", norm)
        return norm

    def _require_finite(self, what: str, value: Any) -> None:
        if self.args.logging_nan_inf_filter or math.isfinite(float(value)):
            return
        message = (
            f"the {what} of step {self.state.global_step + 1} is {float(value)}; the weights are as of the step before"
        )
        raise RunError(message, "lower learning_rate, set max_grad_norm, or look for broken rows in the data")

    def _collated(self, rows: Rows) -> Batch:
        batch = self.data_collator(rows.rows)
        return batch | {REPEATED: True} if rows.repeated else batch

    def _count(self, batch: Batch) -> torch.Tensor:
        return self.objective.count(batch) * (REPEATED not in batch)

    def _sums(self, model: nn.Module, inputs: Batch) -> Sums:
        batch = {key: value for key, value in inputs.items() if key != REPEATED}
        sums = self.objective.sums(model, batch)
        if not model.training:
            for measure in self.measures:
                sums |= measure(model, batch, REPEATED not in inputs)
        return {name: (part * 0, n * 0) for name, (part, n) in sums.items()} if REPEATED in inputs else sums

    def _without_repeats(self, batch: Batch) -> Batch:
        """accelerate fills the last batches of an epoch with rows from its beginning; each row shall count once."""
        state = self.accelerator.gradient_state
        if self.accelerator.num_processes == 1 or not state.end_of_dataloader or state.remainder <= 0:
            return batch
        rows = len(batch.rows) if isinstance(batch, Rows) else find_batch_size(batch)
        mine = state.remainder - rows * self.accelerator.process_index
        if mine >= rows:
            return batch
        if isinstance(batch, Rows):
            return Rows(batch.rows[: max(mine, 1)], repeated=mine <= 0)
        batch = {key: value[: max(mine, 1)] for key, value in batch.items()}
        return batch if mine > 0 else batch | {REPEATED: True}

    # Evaluation: sums over the whole set, so that the result does not depend on the batch size.

    def evaluation_loop(self, dataloader: DataLoader, description: str, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        self._eval_sums = {}
        output = super().evaluation_loop(dataloader, description, *args, **kwargs)
        prefix = kwargs.get("metric_key_prefix", "eval")
        output.metrics.pop(f"{prefix}_model_preparation_time", None)
        means = self.objective.summary(self._means(self._eval_sums))
        output.metrics.update({f"{prefix}_{name}": value for name, value in means.items()})
        return output

    def prediction_step(self, model: nn.Module, inputs: Batch, *args: Any, **kwargs: Any) -> tuple[None, None, None]:
        inputs = self._prepare_inputs(self._without_repeats(inputs))
        # Not the wrapper for several processes, which is not told that this is no training.
        for batch in self._begun(model, [inputs]):
            with torch.no_grad(), self.compute_loss_context_manager():
                add_up(self._eval_sums, self._sums(model, batch))
        return None, None, None

    def _means(self, sums: Sums) -> dict[str, float]:
        totals = {name: [self.accelerator.reduce(part, "sum").item() for part in pair] for name, pair in sums.items()}
        return {name: total / n for name, (total, n) in totals.items() if n}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            logs |= self.objective.logged(self._means(self._log_sums))
            self._log_sums = {}
        if SUMMARY in logs:  # of the whole run, also of what was trained before it was resumed
            logs["train_loss"] = self._total_loss_scalar / max(self.state.global_step, 1)
            if self._reports.include_effective_tokens_per_second:
                tokens = self.accelerator.reduce(
                    torch.tensor(self._trained_tokens, device=self.args.device), "sum"
                ).item()
                logs["effective_tokens_per_sec"] = round(tokens / logs["train_runtime"], 2)
        super().log(logs, start_time)


def add_up(into: Sums, sums: Sums) -> None:
    """Add a batch's sums to a running total, in float64 where the device has it, without their graph."""
    for name, pair in sums.items():
        exact = torch.float32 if pair[0].device.type == "mps" else torch.float64
        part, n = (x.detach().to(exact) for x in pair)
        before = into.get(name)
        into[name] = (part, n) if before is None else (before[0] + part, before[1] + n)
