"""Single answers and verdicts on them: from examples to batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from ft_plugin_data.truncation import Conversation, Fitted, Fitting
from ft_plugin_preference.pairs import says_something
from ft_plugin_trainer import forks
from ft_plugin_trainer.encoding import NextTokenCollator, identity
from ft_plugin_trainer.forks import segments
from ft_plugin_trainer.joining import forked
from ft_plugin_trainer.targets import IGNORE
from ftk.contracts import Encoded, Example, Message
from ftk.problems import RowError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROMPT, ANSWER, OTHER, PADDING = range(4)
"""What a position of a row belongs to."""
OTHERS = "other_"
"""Begins the columns of an answer to another prompt."""
REFERENCE = ("ref_logps", "ref_other_logps")
"""Columns of a row whose reference log-probabilities are known: of the answer, and of the one to another prompt."""


class AnswerEncoder:
    """Examples -> ``prompt_input_ids``, ``answer_input_ids``, ``answer_labels`` and ``desirable``.

    A pair of a chosen and a rejected answer becomes two rows.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, fitting: Fitting) -> None:
        self.fitting = fitting
        self.collate = AnswerCollator(tokenizer.pad_token_id, fitting.cutoff_len)
        self.fingerprint = identity(tokenizer, "answers", fitting.template.fingerprint, fitting.settings)

    def encode(self, examples: Sequence[Example]) -> list[list[Encoded] | RowError]:
        return [self._encoded(example) for example in examples]

    def _encoded(self, example: Example) -> list[Encoded] | RowError:
        answers = answers_of(example)
        if isinstance(answers, RowError):
            return answers
        fitted = self.fitting.encode([conversation for conversation, _ in answers])
        out = []
        for one, (_, desirable) in zip(fitted, answers, strict=True):
            made = one if isinstance(one, RowError) else encoded(one, desirable)
            if isinstance(made, RowError):
                return made
            out.append(made)
        return out


def answers_of(example: Example) -> list[tuple[Conversation, bool]] | RowError:
    """Conversations that end with an answer, and whether that is a good one."""
    wanted = "where this stage wants an answer and a verdict on it"
    if example.chosen and example.rejected:
        prompt, answers = example.messages, [(example.chosen, True), (example.rejected, False)]
    elif not example.messages or example.text:
        return RowError(f"raw text, {wanted}" if example.text else "no messages")
    elif example.messages[-1]["role"] != "assistant":
        return RowError("the conversation does not end with an answer")
    elif example.desirable is None:
        return RowError(f"no verdict, {wanted}: name its column as 'kto_tag' in dataset_info.json")
    else:
        prompt, answers = example.messages[:-1], [(example.messages[-1:], example.desirable)]
    if not prompt:
        return RowError("no prompt")
    if not all(any(says_something(message) for message in answer) for answer, _ in answers):
        return RowError("the answer is empty")
    before: list[Message] = [{**message, "weight": 0.0} for message in prompt]
    return [(([*before, *({**m, "weight": 1.0} for m in answer)], example.tools), good) for answer, good in answers]


def encoded(fitted: Fitted, desirable: bool) -> Encoded | RowError:
    ids, weights = fitted.tokens.input_ids, fitted.tokens.weights
    start = next(i for i, weight in enumerate(weights) if weight)
    if not start:
        return RowError("no token before the answer, from which its first token could be predicted")
    columns = {
        "prompt_input_ids": ids[:start],
        "answer_input_ids": ids[start:],
        "answer_labels": [i if weight else IGNORE for i, weight in zip(ids[start:], weights[start:], strict=True)],
        "desirable": desirable,
    }
    return Encoded(columns, truncated=fitted.truncated, where=fitted.where)


def length_of(row: Mapping[str, Any]) -> int:
    """Tokens of a row's conversation."""
    return len(row["prompt_input_ids"]) + len(row["answer_input_ids"])


class AnswerCollator:
    """Rows of ``AnswerEncoder`` -> a batch, padded on the right.

    A row is ``prompt | answer``, or ``prompt | answer | other`` with an answer to another prompt. Both begin with the
    prompt's last token, which thus stands there twice, so that each has a position from which its first token is
    predicted.
    """

    segments = ("prompt", "answer", "other", "padding")
    """What the numbers in the column of this name mean, for those who look at a batch."""

    def __init__(self, pad_token_id: int, cutoff_len: int) -> None:
        self.collate, self.cutoff_len = NextTokenCollator(pad_token_id), cutoff_len

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """``input_ids``, ``attention_mask``, ``labels`` and ``segments`` (what a position belongs to), each (B, T).

        And ``desirable`` and, where rows have them, the columns of ``REFERENCE``, of shape B. What would be beyond
        ``cutoff_len`` of a prompt and an answer to another one is cut off.
        """
        joined, lengths = zip(*map(self._joined, rows), strict=True)
        batch = self.collate(joined)
        batch["segments"] = segments(torch.tensor(lengths), batch["labels"].shape[1])
        batch["desirable"] = torch.tensor([bool(row["desirable"]) for row in rows])
        known = [name for name in REFERENCE if name in rows[0]]
        return batch | {name: torch.tensor([row[name] for row in rows], dtype=torch.float64) for name in known}

    def _joined(self, row: Mapping[str, Any]) -> tuple[dict[str, list[int]], list[int]]:
        """Token ids and labels of all parts, and how long each is."""
        room = self.cutoff_len - len(row["prompt_input_ids"])
        names = [name for name in ("answer_", OTHERS) if f"{name}input_ids" in row]
        branches = [(row[f"{name}input_ids"][:room], row[f"{name}labels"][:room]) for name in names]
        made, lengths = forked(row["prompt_input_ids"], branches)
        return made, lengths + [0] * (OTHER - len(names))


def lengths_of(batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Positions of prompt, answer and other answer of each row, of shape (B, 3)."""
    return forks.lengths_of(batch["segments"], PADDING)


def joined(batches: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The rows of all batches as one batch, as wide as the widest."""
    width = max(batch["labels"].shape[1] for batch in batches)
    padding = {"input_ids": 0, "attention_mask": 0, "labels": IGNORE, "segments": PADDING}
    made = {}
    for name in batches[0]:
        parts = [batch[name] for batch in batches]
        if name in padding:
            parts = [F.pad(part, (0, width - part.shape[1]), value=padding[name]) for part in parts]
        made[name] = torch.cat(parts)
    return made


def with_one(batch: Mapping[str, torch.Tensor], part: int) -> dict[str, torch.Tensor]:
    """The rows of a batch with their prompts and one of both answers, as the answer."""
    wanted_BT = (batch["segments"] == PROMPT) | (batch["segments"] == part)
    width = int(wanted_BT.sum(1).max())
    order_BT = (~wanted_BT).long().argsort(dim=1, stable=True)[:, :width]
    made = {name: v.gather(1, order_BT) if v.shape == wanted_BT.shape else v for name, v in batch.items()}
    beyond_BT = ~wanted_BT.gather(1, order_BT)
    made["labels"].masked_fill_(beyond_BT, IGNORE)
    made["attention_mask"].masked_fill_(beyond_BT, 0)
    made["segments"] = (made["segments"] != PROMPT).long().masked_fill_(beyond_BT, PADDING)
    return made
