"""Training data that is read while training, and the place in it where a checkpoint was written."""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import TrainerCallback

from ftk.problems import RunError

FILE = "stream.json"
"""In a checkpoint: where in the stream its step ended."""
EVERY = 32
"""Rows from one place that is noted to the next."""
NOTED = 64
"""Places that are remembered; loaders read a few batches ahead of the step."""

Row = Mapping[str, Any]


class Step(Protocol):
    def begin(self, epoch: int, state: dict[str, Any] | None = None) -> None: ...
    def next(self) -> Row | None: ...
    def state(self) -> dict[str, Any]: ...


class Stream(Protocol):
    """Data that has no length. ``step`` gives its rows; ``state`` is JSON, from which ``begin`` goes on exactly."""

    step: Step

    def account(self) -> None:
        """Show and write what became of the rows so far."""


def is_stream(data: Any) -> bool:
    return hasattr(data, "step") and hasattr(data, "account")


class Once(torch.utils.data.IterableDataset):
    """One pass over a stream, for evaluation."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __iter__(self) -> Iterator[Row]:
        return iter(self.stream)


class Endless(torch.utils.data.IterableDataset):
    """A stream that begins again when it ends.

    transformers would count passes itself, of a length that it does not know: it would then resume in the wrong pass,
    and add what is left over at the end of one to the first step of the next.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._start: dict[str, Any] = {"rows": 0, "epoch": 0, "step": None}
        self._epoch = 0
        self._places: deque[dict[str, Any]] = deque(maxlen=NOTED)

    def __iter__(self) -> Iterator[Row]:
        step, count, state = self.stream.step, self._start["rows"], self._start["step"]
        for epoch in itertools.count(self._start["epoch"]):
            self._epoch = epoch
            step.begin(epoch, state)
            empty = state is None
            state = None
            while True:
                if count % EVERY == 0:
                    self._places.append({"rows": count, "epoch": epoch, "step": step.state()})
                row = step.next()
                if row is None:
                    break
                count, empty = count + 1, False
                yield row
            if empty:
                raise RunError("the stream of training data holds nothing to train on", "check dataset and max_samples")

    def place(self, rows: int) -> dict[str, Any]:
        """Where it was after so many rows, or a little before. The loader may have read on."""
        known = [place for place in self._places if place["rows"] <= rows]
        return known[-1] if known else self._start

    def go_to(self, place: dict[str, Any], rows: int) -> None:
        """Begin after so many rows, from a place at or before that."""
        self._start = place
        skipped = iter(self)
        for _ in range(rows - place["rows"]):
            next(skipped)
        if rows > place["rows"]:
            self._start = {"rows": rows, "epoch": self._epoch, "step": self.stream.step.state()}
        self._places.clear()


class KeepPlace(TrainerCallback):
    """Accounts for a stream when a checkpoint is written and when training ends."""

    def __init__(self, data: Endless) -> None:
        self.data = data

    def on_save(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
        if state.is_world_process_zero:
            self.data.stream.account()

    def on_train_end(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
        self.on_save(args, state)


class Reading:
    """How a trainer reads a stream: by one process, and after a resume from where it was left."""

    def __init__(self, stream: Stream) -> None:
        self.data = Endless(stream)
        self._step = self._rows = 0
        """A step, and how many rows had been trained on when it had ended."""
        self._random_of: Path | None = None
        """The checkpoint whose random numbers are to be taken up once the first batches are drawn."""

    def begin(self, trainer: Any, checkpoint: Path | None) -> None:
        """Before training. RunError where a checkpoint does not say where it was."""
        trainer.add_callback(KeepPlace(self.data))
        if trainer.args.dataloader_num_workers:
            trainer.run.logger.info("dataloader_num_workers: a stream is read by one process, in its order")
            trainer.args.dataloader_num_workers, trainer.args.dataloader_prefetch_factor = 0, None
        if checkpoint is None:
            return
        try:
            kept = json.loads((checkpoint / FILE).read_text(encoding="utf-8"))
            self.data.go_to(kept["place"], kept["rows"])
        except FileNotFoundError:
            return  # transformers reads and encodes everything before that again
        except (ValueError, KeyError) as e:
            raise RunError(f"{checkpoint / FILE} is broken: {e}", "resume from another checkpoint") from None
        trainer.args.ignore_data_skip, self._random_of = True, checkpoint
        self._step, self._rows = kept["step"], kept["rows"]

    def drawn(self, trainer: Any) -> None:
        """After the batches of a step have been drawn."""
        if self._random_of is not None:
            trainer._load_rng_state(str(self._random_of))
            self._random_of = None

    def save(self, trainer: Any, folder: Path) -> None:
        """Into a checkpoint."""
        args, step = trainer.args, trainer.state.global_step
        each = trainer._train_batch_size * args.gradient_accumulation_steps * args.world_size
        rows = self._rows + (step - self._step) * each
        place = {"step": step, "rows": rows, "place": self.data.place(rows)}
        (folder / FILE).write_text(json.dumps(place), encoding="utf-8")


def for_evaluation(data: Any) -> Any:
    """What transformers can iterate over."""
    if isinstance(data, Mapping):
        return {name: for_evaluation(part) for name, part in data.items()}
    return Once(data) if is_stream(data) else data
