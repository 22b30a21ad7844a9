"""Answers of the policy, and what is learnt from each of their tokens.

Shape suffixes: B answers, T positions of prompt and answer, N tokens of an answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch.nn import functional as F

from ft_plugin_trainer.targets import IGNORE

METRIC = "metric/"
"""Prefix of columns of a batch that are logged: a number for each row."""
COLUMNS = ("old", "value", "advantage", "return")
"""What is known of each token: its log-probability and its value when it was written, and what came of it."""


@dataclass(slots=True)
class Answer:
    """A prompt and what the policy said to it."""

    ids: list[int]
    """Of both."""
    start: int
    """Where the answer begins."""
    tokens: dict[str, torch.Tensor] = field(default_factory=dict)
    """``COLUMNS`` of the answer, of shape N."""
    metrics: dict[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        """Tokens of the answer."""
        return len(self.ids) - self.start


def batch_of(answers: Sequence[Answer], pad: int, device: torch.device) -> dict[str, torch.Tensor]:
    """A micro-batch, padded on the right.

    input_ids, attention_mask, labels (B, T): ``IGNORE`` but at tokens of answers
    old, value, advantage, return (B, T): at the position that predicts the token, 0 elsewhere; where answers have them
    metric/... (B)
    """
    shape = (len(answers), max(len(answer.ids) for answer in answers))
    batch = {"input_ids": torch.full(shape, pad), "labels": torch.full(shape, IGNORE)}
    batch["attention_mask"] = torch.zeros(shape, dtype=torch.long)
    for name, values_N in answers[0].tokens.items():
        batch[name] = torch.zeros(shape, dtype=values_N.dtype)
    for i, answer in enumerate(answers):
        n = len(answer.ids)
        batch["input_ids"][i, :n] = torch.tensor(answer.ids)
        batch["attention_mask"][i, :n] = 1
        batch["labels"][i, answer.start : n] = batch["input_ids"][i, answer.start : n]
        for name, values_N in answer.tokens.items():
            batch[name][i, answer.start - 1 : n - 1] = values_N
    for name in answers[0].metrics:
        batch[METRIC + name] = torch.tensor([answer.metrics[name] for answer in answers], dtype=torch.float64)
    exact = {torch.float64: torch.float32} if device.type == "mps" else {}
    return {name: value.to(device, exact.get(value.dtype, value.dtype)) for name, value in batch.items()}


def targets_of(batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Labels moved left by one: the token that each position shall predict."""
    return F.pad(batch["labels"][:, 1:], (0, 1), value=IGNORE)


def padded(answers: Sequence[Answer], name: str) -> torch.Tensor:
    """One of ``COLUMNS`` as (B, longest answer), 0 beyond the end of an answer."""
    return torch.nn.utils.rnn.pad_sequence([answer.tokens[name] for answer in answers], batch_first=True)


def packed(answers: Sequence[Answer]) -> dict[str, torch.Tensor]:
    """The answers as tensors that a file can hold."""
    if not answers:
        return {}
    sizes = torch.tensor([[len(answer.ids), answer.start] for answer in answers])
    out = {"ids": torch.tensor([token for answer in answers for token in answer.ids]), "sizes": sizes}
    for name in answers[0].tokens:
        out[f"token/{name}"] = torch.cat([answer.tokens[name] for answer in answers])
    for name in answers[0].metrics:
        out[METRIC + name] = torch.tensor([answer.metrics[name] for answer in answers], dtype=torch.float64)
    return out


def unpacked(tensors: Mapping[str, torch.Tensor]) -> list[Answer]:
    """What ``packed`` was given."""
    if "sizes" not in tensors:
        return []
    sizes = tensors["sizes"].tolist()
    parts = tensors["ids"].split([n for n, _ in sizes])
    answers = [Answer(ids.tolist(), start) for ids, (_, start) in zip(parts, sizes, strict=True)]
    for name, values in tensors.items():
        kind, _, column = name.partition("/")
        if kind == "token":
            for answer, values_N in zip(answers, values.split([len(answer) for answer in answers]), strict=True):
                answer.tokens[column] = values_N
        elif kind == "metric":
            for answer, value in zip(answers, values.tolist(), strict=True):
                answer.metrics[column] = value
    return answers
