"""``ftk data stats``: what a run's data is like, counted in one pass through its real encoder."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import typer

from ft_plugin_data.config import DataConfig
from ft_plugin_data.ledger import Ledger
from ft_plugin_packing.sequences import Packed
from ft_plugin_trainer.config import TrainerConfig
from ftk.cli.options import print_json
from ftk.problems import RunError
from ftk.run import Run

from .census import Census, repeated
from .opening import load_split, looked_at
from .picture import draw
from .report import report

LIMITS = (128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
"""Values of cutoff_len for which it is said what they would cut off."""
ENCODE_ALL = ("tokenized_path=null", "overwrite_cache=true", "preprocessing_num_workers=1")
"""Every row is encoded, here, whatever is kept of an earlier run."""


@dataclass(frozen=True, kw_only=True)
class Stats:
    ledgers: list[Ledger]
    lengths: np.ndarray
    targets: np.ndarray
    scripts: dict[str, int]
    duplicates: int
    """Rows that are encoded exactly as an earlier one."""
    alike_prompts: int
    """Prompts that an earlier row has too, but for case and punctuation."""
    cutoff_len: int
    uncut: int
    """Tokens before anything was cut off."""
    cut: list[dict[str, Any]] = field(default_factory=list)
    """For some values of cutoff_len: sequences longer than it, and their tokens beyond it."""
    packing: dict[str, Any] | None = None
    steps: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "datasets": [ledger.as_dict() for ledger in self.ledgers],
            "sequences": len(self.lengths),
            "tokens": summary(self.lengths),
            "with_loss": summary(self.targets),
            "duplicate_rows": self.duplicates,
            "alike_prompts": self.alike_prompts,
            "scripts": self.scripts,
            "cutoff_len": self.cutoff_len,
            "cut": self.cut,
            "packing": self.packing,
            "training": self.steps,
        }


def stats(
    config: str,
    overrides: Sequence[str] | None,
    *,
    split: str,
    plot: Path | None,
    as_json: bool,
    step: str | None = None,
) -> None:
    with looked_at(config, overrides, *ENCODE_ALL, quiet=True, step=step) as run:
        if run.config[DataConfig].streaming:
            raise RunError(
                "stats reads every row, which streaming does not", "add streaming=false, and max_samples=1000"
            )
        found = of_run(run, split)
    if plot is not None:
        draw(found.lengths, found.targets, found.cutoff_len, plot)
    if as_json:
        print_json(found.as_dict())
    else:
        typer.echo(report(found))
    if plot is not None:
        typer.echo(f"wrote {plot}", err=as_json)


def of_run(run: Run, split: str = "train") -> Stats:
    """Count the rows that the run trains on, or evaluates on. Raises RunError."""
    tokenizer = run.load_tokenizer()
    census = Census(run.encoder(tokenizer, run.load_template(tokenizer)))
    loaded = load_split(run, split, census)
    account = json.loads((run.output_dir / "ledger.json").read_text(encoding="utf-8"))
    if not census.lengths:
        raise RunError("this stage encodes no input_ids", "there is nothing to count")
    data, uncut = next(iter(loaded.values())), np.array(census.uncut)
    return Stats(
        ledgers=[Ledger.from_dict(each) for part in account.values() for each in part],
        lengths=np.array(census.lengths),
        targets=np.array(census.targets),
        scripts=dict(census.scripts.most_common()),
        duplicates=repeated(census.copies),
        alike_prompts=repeated(census.prompts),
        uncut=int(uncut.sum()),
        cutoff_len=(cutoff := run.config[DataConfig].cutoff_len),
        cut=[] if census.splits else [beyond(uncut, limit) for limit in _limits(uncut, cutoff)],
        packing=packing(data),
        steps=steps(run.config[TrainerConfig], len(data)) if split == "train" else {},
    )


def summary(counts: np.ndarray) -> dict[str, float]:
    """Sum, mean, percentiles and largest of counts."""
    if not len(counts):
        return {}
    percentiles = {f"{p}%": int(np.percentile(counts, p, method="higher")) for p in (50, 90, 95, 99)}
    return {"sum": int(counts.sum()), "mean": round(float(counts.mean()), 1), **percentiles, "max": int(counts.max())}


def beyond(uncut: np.ndarray, limit: int) -> dict[str, Any]:
    over = np.maximum(uncut - limit, 0)
    return {"cutoff_len": limit, "sequences": int((over > 0).sum()), "tokens": int(over.sum())}


def _limits(uncut: np.ndarray, cutoff_len: int) -> list[int]:
    """Up to the first that cuts nothing."""
    limits = sorted({*LIMITS, cutoff_len})
    longest = int(uncut.max())
    return [limit for i, limit in enumerate(limits) if limit == cutoff_len or i == 0 or limits[i - 1] < longest]


def packing(data: Any) -> dict[str, Any] | None:
    """How full packed sequences are, where documents are packed."""
    if not isinstance(data, Packed):
        return None
    return {"sequences": len(data), "tokens": data.capacity, "full": data.tokens / (len(data) * data.capacity)}


def steps(config: TrainerConfig, rows: int) -> dict[str, Any]:
    """Optimizer steps as transformers counts them."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    batches = ceil(rows / (config.per_device_train_batch_size * processes))
    each = ceil(batches / config.gradient_accumulation_steps)
    batch = config.per_device_train_batch_size * config.gradient_accumulation_steps * processes
    total = config.max_steps if config.max_steps > 0 else ceil(config.num_train_epochs * each)
    return {"rows": rows, "global_batch": batch, "epochs": round(total / each, 2), "steps": total}
