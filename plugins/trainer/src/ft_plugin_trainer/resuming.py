"""Where a run begins: afresh, or at a checkpoint."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from transformers.trainer import OPTIMIZER_NAME, TRAINER_STATE_NAME

from ftk import lock
from ftk.problems import RunError
from ftk.settings import RunConfig

from .config import CheckpointConfig
from .files import discard, remove_incomplete
from .log import FILE as LOG

if TYPE_CHECKING:
    from ftk.run import Run

_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
HARMLESS = ("resume_from_checkpoint", "overwrite_output_dir", "overwrite_cache", "output_dir")
"""Keys that may differ between a run and the one that goes on with it."""


def clear(run: Run) -> None:
    """Remove what an interrupted run left unfinished, and what a run that starts afresh replaces. One process alone."""
    folder = run.output_dir
    if left := remove_incomplete(folder):
        run.logger.info("removed what was not finished when the last run was interrupted: %s", ", ".join(left))
    if not run.config[RunConfig].overwrite_output_dir or run.config[CheckpointConfig].resume_from_checkpoint:
        return
    if old := checkpoints(folder):
        for path in old:
            discard(path)
        names = ", ".join(path.name for path in old)
        run.logger.info("overwrite_output_dir: removed the checkpoints of the run before: %s", names)
    (folder / LOG).unlink(missing_ok=True)


def starting_point(run: Run) -> Path | None:
    """The checkpoint to go on from, announced in one line; None: start afresh. RunError where neither can be."""
    wanted = run.config[CheckpointConfig].resume_from_checkpoint
    found = checkpoints(run.output_dir)
    if isinstance(wanted, str):
        point = Path(wanted)
    elif wanted or (found and not run.config[RunConfig].overwrite_output_dir):
        if wanted is False:
            message = f"output_dir {str(run.output_dir)!r} holds checkpoints, but resume_from_checkpoint is false"
            raise RunError(message, "set overwrite_output_dir: true to discard them, or choose another output_dir")
        if not found:
            raise RunError(
                f"resume_from_checkpoint is set, but {str(run.output_dir)!r} holds no checkpoint", "unset it"
            )
        point = found[-1]
    else:
        return None
    if not (point / TRAINER_STATE_NAME).is_file():
        raise RunError(
            f"{str(point)!r} is not a checkpoint of a training run", "give the path of a checkpoint-N folder"
        )
    if not resumable(point):
        message = f"{str(point)!r} was written with save_only_model and cannot be resumed"
        raise RunError(message, "set overwrite_output_dir: true to start afresh")
    run.logger.info("going on from %s", point)
    warn_of_changes(run, point)
    return point


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints of a folder, oldest step first."""
    found = {p: match for p in folder.glob("checkpoint-*") if (match := _CHECKPOINT.fullmatch(p.name)) and p.is_dir()}
    return sorted(found, key=lambda p: int(found[p][1]))


def resumable(point: Path) -> bool:
    """Whether the optimizer's state is there: one file, or the folder of a sharded one."""
    return (point / OPTIMIZER_NAME).is_file() or any(point.glob("global_step*")) or any(point.glob("optimizer_*"))


def warn_of_changes(run: Run, point: Path) -> None:
    """Compare the plan of the run with the one that a checkpoint was written under."""
    before = lock.read(point)
    if before is None:
        return
    changes = [c for c in lock.differences(before, lock.describe(run.plan)) if c.partition(":")[0] not in HARMLESS]
    if changes:
        run.logger.warning("the config is not the one that %s was written under: %s", point.name, "; ".join(changes))
