"""Answers to other prompts, from which KTO tells how far the policy has moved."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from datasets import Dataset

from ftk.problems import RunError

from .answers import OTHERS


def with_other_answers(rows: Dataset, seed: int) -> Dataset:
    """Each row with the answer of another row, as ``other_input_ids`` and ``other_labels``; no answer is there twice.

    Which answer does not depend on batches, processes or the order in which rows are drawn. Raises RunError for a
    single row.
    """
    if len(rows) < 2:
        raise RunError("kto needs at least 2 rows: it pairs each prompt with the answer of another row")
    index = pa.array(derangement(len(rows), seed))
    for name in ("input_ids", "labels"):
        column = rows.select_columns([f"answer_{name}"]).with_format("arrow")[:][f"answer_{name}"]
        rows = rows.add_column(f"{OTHERS}{name}", column.take(index).combine_chunks())
    return rows


def derangement(n: int, seed: int) -> np.ndarray:
    """A random cycle through 0 ... n - 1: entry i is the number that follows i, and never i."""
    order = np.random.default_rng(seed).permutation(n)
    following = np.empty(n, dtype=np.int64)
    following[order] = np.roll(order, -1)
    return following
