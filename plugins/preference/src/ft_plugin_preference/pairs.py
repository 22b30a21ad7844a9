"""Pairs of answers to one prompt: from examples to batches.

A pair is one row: ``prompt | chosen | rejected``. Both answers begin with the prompt's last token, which thus stands
there twice, so that each has a position from which its first token is predicted.

Shape suffixes: B pairs, T positions of a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import torch

from ft_plugin_data.truncation import Fitted, Fitting, Pair
from ft_plugin_trainer import forks
from ft_plugin_trainer.encoding import NextTokenCollator, identity
from ft_plugin_trainer.forks import segments
from ft_plugin_trainer.joining import forked
from ft_plugin_trainer.targets import IGNORE
from ftk.contracts import Encoded, Example, Message
from ftk.problems import RowError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROMPT, CHOSEN, REJECTED, PADDING = range(4)
"""What a position of a row belongs to."""
REFERENCE = ("ref_chosen_logps", "ref_rejected_logps")
"""Columns of a row whose reference log-probabilities are known: of all of an answer's tokens."""


class PairEncoder:
    """Pairs -> ``prompt_input_ids``, and ``input_ids`` and ``labels`` of ``chosen_`` and ``rejected_``."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, fitting: Fitting) -> None:
        """``fitting``: what it lets carry loss in the prompt carries none here, as both answers share it."""
        self.fitting = fitting
        self.collate = PairCollator(tokenizer.pad_token_id)
        self.fingerprint = identity(tokenizer, "pairs", fitting.template.fingerprint, fitting.settings)

    def encode(self, examples: Sequence[Example]) -> list[list[Encoded] | RowError]:
        pairs = [pair_of(example) for example in examples]
        fitted = iter(self.fitting.encode_pairs([pair for pair in pairs if not isinstance(pair, RowError)]))
        return [pair if isinstance(pair, RowError) else encoded(next(fitted)) for pair in pairs]


def pair_of(example: Example) -> Pair | RowError:
    """Prompt, chosen, rejected and tools of an example that has them."""
    if not (example.chosen and example.rejected):
        wanted = "where this stage wants a chosen and a rejected answer"
        return RowError(f"raw text, {wanted}" if example.text else f"one answer, {wanted}")
    if not example.messages:
        return RowError("no prompt")
    for name, answer in (("chosen", example.chosen), ("rejected", example.rejected)):
        if not any(says_something(message) for message in answer):
            return RowError(f"the {name} answer is empty")
    prompt: list[Message] = [{**message, "weight": 0.0} for message in example.messages]
    return prompt, example.chosen, example.rejected, example.tools


def says_something(message: Message) -> bool:
    content = message.get("content")
    text = content.strip() if isinstance(content, str) else content
    return bool(text or message.get("tool_calls") or message.get("reasoning_content"))


def encoded(pair: tuple[Fitted, Fitted] | RowError) -> list[Encoded] | RowError:
    """The columns of a pair that fits."""
    if isinstance(pair, RowError):
        return pair
    chosen, rejected = (fitted.tokens for fitted in pair)
    truncated = pair[0].truncated + pair[1].truncated
    if chosen.input_ids == rejected.input_ids:
        return RowError("chosen and rejected are equal" + (" as far as they fit into cutoff_len" if truncated else ""))
    same = zip(chosen.input_ids, rejected.input_ids, strict=False)
    shared = sum(1 for _ in takewhile(lambda ids: ids[0] == ids[1], same))
    first_targets = [next(i for i, weight in enumerate(side.weights) if weight) for side in (chosen, rejected)]
    prompt = min(shared, *first_targets)
    if not prompt:
        return RowError("no token before the answers, from which their first tokens could be predicted")
    columns: dict[str, list[int]] = {"prompt_input_ids": chosen.input_ids[:prompt]}
    for name, side in (("chosen", chosen), ("rejected", rejected)):
        ids, weights = side.input_ids[prompt:], side.weights[prompt:]
        columns[f"{name}_input_ids"] = ids
        columns[f"{name}_labels"] = [token if weight else IGNORE for token, weight in zip(ids, weights, strict=True)]
    where = " and ".join(dict.fromkeys(fitted.where for fitted in pair if fitted.where))
    return [Encoded(columns, truncated=truncated, where=where)]


def length_of(row: Mapping[str, Any]) -> int:
    """Positions of a pair's row."""
    return sum(len(row[f"{part}_input_ids"]) for part in ("prompt", "chosen", "rejected")) + 1


class PairCollator:
    """Rows of ``PairEncoder`` -> a batch, padded on the right."""

    segments = ("prompt", "chosen", "rejected", "padding")
    """What the numbers in the column of this name mean, for those who look at a batch."""

    def __init__(self, pad_token_id: int) -> None:
        self.collate = NextTokenCollator(pad_token_id)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """``input_ids``, ``labels``, ``attention_mask`` and ``segments`` (what a position belongs to), each (B, T).

        Where rows have them, the columns of ``REFERENCE`` too, of shape B.
        """
        made, lengths = zip(*map(self._forked, rows), strict=True)
        batch = self.collate(made)
        batch["segments"] = segments(torch.tensor(lengths), batch["labels"].shape[1])
        for name in REFERENCE:
            if name in rows[0]:
                batch[name] = torch.tensor([row[name] for row in rows], dtype=torch.float64)
        return batch

    def _forked(self, row: Mapping[str, Any]) -> tuple[dict[str, list[int]], list[int]]:
        sides = [(row[f"{side}_input_ids"], row[f"{side}_labels"]) for side in ("chosen", "rejected")]
        return forked(row["prompt_input_ids"], sides)


def lengths_of(batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Positions of prompt, chosen and rejected of each row, of shape (B, 3)."""
    return forks.lengths_of(batch["segments"], PADDING)
