"""A run that is only looked at: its real tokenizer, template, encoder and data, and nothing left behind."""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ft_plugin_data.config import DataConfig
from ftk.cli.session import open_training, ready
from ftk.problems import RunError
from ftk.run import Run


@contextlib.contextmanager
def looked_at(
    config: str, overrides: Sequence[str] | None, *more: str, step: str | None = None, quiet: bool = False
) -> Iterator[Run]:
    """The config's run, in an output folder that goes away. What its libraries print goes to stderr.

    ``max_drop`` is lifted: bad data is what one looks for here.

    more   overrides of the command itself
    step   which run of a pipeline
    quiet  the run's own report is left out: the command has a better one
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ftk-data-"))
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        run = ready(open_training(config, [*(overrides or ()), "max_drop=null", *more], step))
        run.output_dir = Path(folder)
        if quiet:
            logger = logging.getLogger("ftk")
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.WARNING)
        yield run


def load_split(run: Run, split: str, encoder: Any) -> dict[str, Any]:
    """Title -> the rows that the run would train or evaluate on. Raises RunError when there are none."""
    data = run.config[DataConfig]
    loaded = None if split == "eval" and data.eval_dataset else run.load_dataset("train", encoder)
    if split == "eval":
        loaded = run.load_dataset("eval", encoder)
    if loaded is None:
        hint = "set eval_dataset, or val_size: 0.1" if split == "eval" else "set dataset, and do_train: true"
        raise RunError(f"this config has no {split} data", hint)
    return {f"{split} {name}": rows for name, rows in loaded.items()} if type(loaded) is dict else {split: loaded}
