"""What encoders of next-token stages share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ftk.lock import fingerprint

from .targets import IGNORE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class NextTokenCollator:
    """Rows of ``input_ids``, ``labels`` and perhaps ``weights`` -> a batch for ``NextToken``, padded on the right.

    Padding carries no loss and is not attended to, whatever its token.
    """

    def __init__(self, pad_token_id: int) -> None:
        self.pad_token_id = pad_token_id
        # Tensor cores want sizes that are multiples of 8; elsewhere more padding is more work.
        self.multiple = 8 if torch.accelerator.is_available() else 1

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """``input_ids``, ``attention_mask``, ``labels`` and, if a row has them, ``weights``; each of shape (B, T)."""
        lengths = [len(row["input_ids"]) for row in rows]
        shape = (len(rows), -(-max(lengths) // self.multiple) * self.multiple)
        batch = {
            "input_ids": torch.full(shape, self.pad_token_id),
            "attention_mask": torch.zeros(shape, dtype=torch.long),
            "labels": torch.full(shape, IGNORE),
        }
        if any(row.get("weights") is not None for row in rows):
            batch["weights"] = torch.zeros(shape)
        for i, (row, n) in enumerate(zip(rows, lengths, strict=True)):
            batch["input_ids"][i, :n] = torch.tensor(row["input_ids"])
            batch["labels"][i, :n] = torch.tensor(row["labels"])
            batch["attention_mask"][i, :n] = 1
            if "weights" in batch:
                weights = row.get("weights")
                batch["weights"][i, :n] = torch.tensor(1.0 if weights is None else weights)
        return batch


def last_answer(ids: Sequence[int], labels: Sequence[int]) -> tuple[list[int], list[int]]:
    """What stands before the last stretch of tokens that carry loss, and that stretch."""
    end = max(i for i, label in enumerate(labels) if label != IGNORE) + 1
    start = end
    while start and labels[start - 1] != IGNORE:
        start -= 1
    return list(ids[:start]), list(ids[start:end])


def identity(tokenizer: PreTrainedTokenizerBase, *settings: object) -> str:
    """A hash of a tokenizer and of settings: the fingerprint of an encoder."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    text = backend.to_str() if backend is not None else sorted(tokenizer.get_vocab().items())
    special = [tokenizer.special_tokens_map, getattr(tokenizer, "split_special_tokens", False)]
    return fingerprint([text, special, *settings])
