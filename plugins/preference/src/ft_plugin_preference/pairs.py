"""Pairs of answers to one prompt: from examples to batches.

A pair is one row: ``prompt | chosen | rejected``. Both answers begin with the prompt's last token, which thus stands
there twice, so that each has a position from which its first token is predicted.

Shape suffixes: B pairs, T positions of a row, S positions of one conversation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import torch

from ft_plugin_data.truncation import Fitted, Fitting, Pair
from ft_plugin_trainer.encoding import identity
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
        self.pad_token_id = pad_token_id
        # Tensor cores want sizes that are multiples of 8; elsewhere more padding is more work.
        self.multiple = 8 if torch.accelerator.is_available() else 1

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """``input_ids``, ``labels``, ``attention_mask`` and ``segments`` (what a position belongs to), each (B, T).

        Where rows have them, the columns of ``REFERENCE`` too, of shape B.
        """
        width = -(-max(map(length_of, rows)) // self.multiple) * self.multiple
        batch = {
            "input_ids": torch.full((len(rows), width), self.pad_token_id),
            "labels": torch.full((len(rows), width), IGNORE),
            "segments": torch.full((len(rows), width), PADDING),
        }
        for i, row in enumerate(rows):
            *prompt, last = row["prompt_input_ids"]
            parts = [[last, *row["chosen_input_ids"]], [last, *row["rejected_input_ids"]]]
            ids = [*prompt, *parts[0], *parts[1]]
            unseen = [IGNORE]  # the last token of the prompt
            labels = [IGNORE] * len(prompt) + unseen + row["chosen_labels"] + unseen + row["rejected_labels"]
            segments = [PROMPT] * len(prompt) + [CHOSEN] * len(parts[0]) + [REJECTED] * len(parts[1])
            for name, values in (("input_ids", ids), ("labels", labels), ("segments", segments)):
                batch[name][i, : len(ids)] = torch.tensor(values)
        batch["attention_mask"] = (batch["segments"] != PADDING).long()
        for name in REFERENCE:
            if name in rows[0]:
                batch[name] = torch.tensor([row[name] for row in rows], dtype=torch.float64)
        return batch


def in_one_row(batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """``position_ids`` (B, T) of both answers as if each followed the prompt, and who sees whom: ``mask`` (B, 1, T, T).

    A position sees those before it of the prompt and of its own answer. Padding sees itself, as somebody must be seen.
    """
    segments_BT = batch["segments"]
    chosen_B1 = (segments_BT == CHOSEN).sum(1, keepdim=True)
    steps_BT = torch.arange(segments_BT.shape[1], device=segments_BT.device).expand_as(segments_BT)
    positions_BT = torch.where(segments_BT == REJECTED, steps_BT - chosen_B1, steps_BT)
    positions_BT = torch.where(segments_BT == PADDING, 0, positions_BT)
    asks_BT1, asked_B1T = segments_BT[:, :, None], segments_BT[:, None, :]
    sees_BTT = (asked_B1T == asks_BT1) | ((asked_B1T == PROMPT) & (asks_BT1 != PADDING))
    earlier_BTT = steps_BT[:, None, :] <= steps_BT[:, :, None]
    itself_BTT = steps_BT[:, None, :] == steps_BT[:, :, None]
    mask_BTT = sees_BTT & earlier_BTT & ((asks_BT1 != PADDING) | itself_BTT)
    return {"position_ids": positions_BT, "mask": mask_BTT[:, None]}


def in_two_rows(batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """``input_ids``, ``labels`` and ``attention_mask`` of shape (2 B, S): chosen and rejected of the first pair, ...

    Targets come in the same order as in one row.
    """
    segments_BT = batch["segments"]
    prompt_B, chosen_B, rejected_B = ((segments_BT == part).sum(1) for part in (PROMPT, CHOSEN, REJECTED))
    lengths_B2 = torch.stack([prompt_B + chosen_B, prompt_B + rejected_B], 1)
    steps_S = torch.arange(int(lengths_B2.max()), device=segments_BT.device)
    skipped_B2 = torch.stack([torch.zeros_like(chosen_B), chosen_B], 1)
    in_answer_B2S = steps_S >= prompt_B[:, None, None]
    index_B2S = steps_S + skipped_B2[..., None] * in_answer_B2S
    real_B2S = steps_S < lengths_B2[..., None]
    # Padding repeats a row's last position; nothing attends to it, and it carries no loss.
    index_B2S = torch.where(real_B2S, index_B2S, (prompt_B + chosen_B + rejected_B - 1)[:, None, None]).flatten(1)
    ids, labels = (batch[name].gather(1, index_B2S).view(-1, len(steps_S)) for name in ("input_ids", "labels"))
    real = real_B2S.view(-1, len(steps_S))
    return {"input_ids": ids, "labels": labels.masked_fill(~real, IGNORE), "attention_mask": real.long()}
