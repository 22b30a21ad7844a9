"""The keys that the kernel itself owns."""

from __future__ import annotations

from typing import Any

from .section import section


@section("run")
class RunConfig:
    stage: str | None = None
    """What to train for: any installed ``stage`` component. Unset: the one that is the default."""
    finetuning_type: str | None = None
    """Which parameters to train: any installed ``adapter`` component. Unset: the one that is the default."""
    output_dir: str = "trainer_output"
    """Folder for checkpoints, logs and the result."""
    overwrite_output_dir: bool = False
    """Start afresh even where the output folder holds an earlier run."""
    seed: int = 42
    """Seed of weights, data order and dropout."""
    do_train: bool | None = None
    """Train. Unset means yes unless only ``do_eval`` or ``do_predict`` is asked for."""
    pipeline: list[dict[str, Any]] | None = None
    """Steps, each a run with keys of its own beside the file's, that goes on from the result of the one before."""
    do_eval: bool = False
    """Evaluate, after training when there is any."""
    do_predict: bool = False
    """Write down what the model makes of the evaluation data, after training when there is any."""

    @property
    def trains(self) -> bool:
        return self.do_train if self.do_train is not None else not (self.do_eval or self.do_predict)
