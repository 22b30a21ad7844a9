"""Answers of the policy, and what is learnt from each of their tokens.

Shape suffixes: B answers, T positions of prompt and answer, N tokens of an answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from ft_plugin_rollouts.batches import metric_columns, on_device, token_batch

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
    """A micro-batch: what ``token_batch`` makes of the answers, and

    old, value, advantage, return (B, T): at the position that predicts the token, 0 elsewhere; where answers have them
    metric/... (B)
    """
    batch = token_batch([(answer.ids, answer.start) for answer in answers], pad)
    for name, values_N in answers[0].tokens.items():
        batch[name] = torch.zeros(batch["labels"].shape, dtype=values_N.dtype)
    for i, answer in enumerate(answers):
        for name, values_N in answer.tokens.items():
            batch[name][i, answer.start - 1 : len(answer.ids) - 1] = values_N
    return on_device(batch | metric_columns(answer.metrics for answer in answers), device)


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
    return out | metric_columns(answer.metrics for answer in answers)


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
