"""Rows that know their number in the data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ft_plugin_trainer.encoding import NextTokenCollator

ROW = "distill_row"
"""Column: the number of a row, from 0."""


class RowCollator:
    """A batch for next-token prediction, and with it ``distill_row`` and ``own`` (B): answered by the student."""

    def __init__(self, collate: NextTokenCollator) -> None:
        self.collate = collate

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        batch = self.collate(rows)
        batch[ROW] = torch.tensor([row[ROW] for row in rows])
        batch["own"] = torch.tensor([bool(row.get("own")) for row in rows])
        return batch


def rows_of(batch: Mapping[str, torch.Tensor]) -> list[dict[str, Any]]:
    """The rows that a batch was made of."""
    rows = []
    for i, number in enumerate(batch[ROW].tolist()):
        real = batch["attention_mask"][i] == 1
        row = {name: batch[name][i][real].tolist() for name in ("input_ids", "labels", "weights") if name in batch}
        rows.append({"weights": None, **row, ROW: number, "own": False})
    return rows
