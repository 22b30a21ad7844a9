"""Batches of packed rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ft_plugin_trainer.encoding import NextTokenCollator

from .sequences import LENGTHS


class PackedCollator:
    """Pads packed rows like plain ones, and tells documents apart by positions that begin anew with each.

    There is no ``attention_mask``: with one, transformers would not look for documents in ``position_ids``. Padding
    comes last, as a document of its own that carries no loss.
    """

    def __init__(self, plain: NextTokenCollator) -> None:
        self.plain = plain

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """``input_ids``, ``labels``, ``position_ids`` and perhaps ``weights`` of shape (B, T); plain rows as ever."""
        batch = self.plain(rows)
        if LENGTHS not in rows[0]:
            return batch
        del batch["attention_mask"]
        width = batch["input_ids"].shape[1]
        batch["position_ids"] = torch.stack([positions(row[LENGTHS], width) for row in rows])
        return batch


def positions(lengths: Sequence[int], width: int) -> torch.Tensor:
    """0, 1, ... for each document and for the padding up to ``width``."""
    return torch.cat([torch.arange(n) for n in (*lengths, width - sum(lengths))])
