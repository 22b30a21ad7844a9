"""Which rows are used, and how several datasets become one."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TypeVar

import numpy as np
from datasets import Dataset, IterableDataset, concatenate_datasets, interleave_datasets

from ftk.problems import RunError

from .config import DataConfig

Data = TypeVar("Data", Dataset, IterableDataset)

STRATEGIES = {
    "interleave_under": "first_exhausted",
    "interleave_over": "all_exhausted",
    "interleave_once": "all_exhausted_without_replacement",
}


def chosen_rows(
    count: int, num_samples: int | None, max_samples: int | None, random: np.random.RandomState
) -> Sequence[int]:
    """Numbers of the rows to use, from 0.

    ``num_samples`` draws that many at random, each row once before any is drawn again; ``max_samples`` takes the first.
    """
    chosen: Sequence[int] = range(count)
    if num_samples is not None:
        # The order of draws is LLaMA-Factory's, so that one seed gives the same rows there and here.
        drawn = random.permutation(count)[:num_samples]
        if (more := num_samples - len(drawn)) > 0:
            drawn = np.concatenate([drawn, random.choice(count, more)])
        chosen = drawn.tolist()
    return chosen if max_samples is None else chosen[:max_samples]


def mix(parts: Sequence[Data], cfg: DataConfig, seed: int) -> Data:
    """One dataset of several, in the order in which they are named. Nothing is shuffled."""
    if len(parts) == 1:
        return parts[0]
    columns = [part.column_names for part in parts]
    if any(names != columns[0] for names in columns):
        raise RunError(f"datasets are encoded to different columns: {columns}", "use data of one kind in a run")
    if cfg.mix_strategy == "concat":
        return concatenate_datasets(list(parts))
    strategy = STRATEGIES[cfg.mix_strategy]
    return interleave_datasets(list(parts), cfg.interleave_probs, seed=seed, stopping_strategy=strategy)


def split_off(data: Dataset, val_size: float, seed: int) -> tuple[Dataset, Dataset]:
    """(train, validation), drawn as ``Dataset.train_test_split`` draws them.

    It is not called because it writes a cache into the folder of data that lies on disk. Raises RunError when nothing
    would be left to train on.
    """
    held = ceil(val_size * len(data)) if val_size < 1 else int(val_size)
    if held >= len(data):
        raise RunError(f"val_size={val_size} of {len(data)} sequences leaves none to train on", "lower it")
    drawn = np.random.default_rng(seed).permutation(len(data))
    train, validation = (data.select(part, keep_in_memory=True) for part in (drawn[held:], drawn[:held]))
    return train, validation
