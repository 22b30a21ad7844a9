"""Rows of pairs and of ranked answers -> pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import torch

from ft_plugin_preference.pairs import PairEncoder
from ft_plugin_trainer.encoding import identity
from ftk.contracts import Encoded, Example, Message
from ftk.problems import RowError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ft_plugin_data.truncation import Fitting

MARGIN = "margin"


class RmEncoder:
    """The columns of ``PairEncoder``, and ``margin`` where there is a column for it.

    answers  column of ranked answers, which make a pair of each two
    margin   column of margins
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        fitting: Fitting,
        *,
        answers: str | None = None,
        margin: str | None = None,
    ) -> None:
        self.pairs, self.answers, self.margin = PairEncoder(tokenizer, fitting), answers, margin
        self.fingerprint = identity(tokenizer, "rm", self.pairs.fingerprint, answers, margin)

    def encode(self, examples: Sequence[Example]) -> list[list[Encoded] | RowError]:
        rows = [self._pairs(example) for example in examples]
        encoded = iter(self.pairs.encode([pair for row in rows if not isinstance(row, RowError) for pair in row]))
        out: list[list[Encoded] | RowError] = []
        for row in rows:
            made = row if isinstance(row, RowError) else together([next(encoded) for _ in row])
            out.append(made if isinstance(made, RowError) or not self.margin else with_margin(made, row, self.margin))
        return out

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        batch = self.pairs.collate(rows)
        return batch | {MARGIN: torch.tensor([row[MARGIN] for row in rows])} if self.margin else batch

    def _pairs(self, example: Example) -> list[Example] | RowError:
        if self.answers is None:
            return [example]
        answers = example.columns.get(self.answers)
        if not isinstance(answers, list) or len(answers) < 2:
            return RowError(f"column {self.answers!r} is not a list of two answers or more")
        turns = [turn for answer in answers if (turn := as_turns(answer))]
        if len(turns) < len(answers):
            return RowError(f"column {self.answers!r}: an answer is neither text nor a turn of the assistant")
        prompt = list(example.messages) or ([Message(role="user", content=example.text)] if example.text else [])
        return [replace(example, messages=prompt, text=None, chosen=a, rejected=b) for a, b in combinations(turns, 2)]


def together(pairs: Sequence[list[Encoded] | RowError]) -> list[Encoded] | RowError:
    """The pairs of one row, all of them or none."""
    made: list[Encoded] = []
    for pair in pairs:
        if isinstance(pair, RowError):
            return pair
        made += pair
    return made


def with_margin(pairs: Sequence[Encoded], row: Sequence[Example], column: str) -> list[Encoded] | RowError:
    value = row[0].columns.get(column)
    if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
        return RowError(f"column {column!r} is not a number")
    return [replace(pair, columns={**pair.columns, MARGIN: float(value)}) for pair in pairs]


def as_turns(answer: Any) -> list[Message] | None:
    """An answer as turns: of its text, a turn, or a list of turns."""
    if isinstance(answer, str):
        return [Message(role="assistant", content=answer)]
    turns = answer if isinstance(answer, list) else [answer]
    good = turns and all(isinstance(turn, dict) for turn in turns) and turns[0].get("role") == "assistant"
    return turns if good else None
