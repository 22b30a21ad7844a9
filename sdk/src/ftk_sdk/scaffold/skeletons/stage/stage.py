"""A stage is two things: how examples become rows of numbers, and the trainer that learns from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from transformers import PreTrainedTokenizerBase

from ft_plugin_data.config import DataConfig
from ft_plugin_trainer.encoding import NextTokenCollator, identity
from ft_plugin_trainer.objective import NextToken
from ft_plugin_trainer.trainer import FtkTrainer
from ftk.contracts import Encoded, Example, Template
from ftk.markers import hookimpl
from ftk.problems import RowError

if TYPE_CHECKING:
    from ftk.contracts import Parts
    from ftk.run import Run

IGNORE = -100
"""Label of a token that carries no loss."""


class SkeletonName:
    @hookimpl
    def ftk_encoder(self, run: Run, tokenizer: PreTrainedTokenizerBase, template: Template) -> LastAnswerEncoder:
        return LastAnswerEncoder(tokenizer, template, run.config[DataConfig].cutoff_len)

    @hookimpl
    def ftk_build_trainer(self, run: Run, parts: Parts) -> FtkTrainer:
        # An Objective of your own counts its targets and sums their losses; this one is cross-entropy.
        return FtkTrainer(run, parts, NextToken())


class LastAnswerEncoder:
    """Conversations -> ``input_ids`` and ``labels``. It is copied to worker processes, so it holds data only."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: Template, cutoff_len: int) -> None:
        self.template, self.cutoff_len = template, cutoff_len
        self.collate = NextTokenCollator(tokenizer.pad_token_id)
        # Encoded data is cached by this: whatever changes the encoding belongs in it.
        self.fingerprint = identity(tokenizer, "skeleton-name", template.fingerprint, cutoff_len)

    def encode(self, examples: Sequence[Example]) -> list[list[Encoded] | RowError]:
        return [self._row(example) for example in examples]

    def _row(self, example: Example) -> list[Encoded] | RowError:
        if not example.messages or example.messages[-1]["role"] != "assistant":
            return RowError("the last turn is not an answer")
        (tokens,) = self.template.encode([(example.messages, example.tools)])
        if isinstance(tokens, RowError):
            return tokens
        prompt = len(self.template.encode_prompt(example.messages[:-1], tools=example.tools))
        labels = [IGNORE] * prompt + tokens.input_ids[prompt:]
        if prompt >= self.cutoff_len:
            return RowError(f"the answer begins after cutoff_len={self.cutoff_len} tokens")
        kept = {"input_ids": tokens.input_ids[: self.cutoff_len], "labels": labels[: self.cutoff_len]}
        return [Encoded(kept, truncated=len(labels) - len(kept["labels"]))]
