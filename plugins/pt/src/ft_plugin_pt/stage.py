"""Pre-training: the mean cross-entropy of every token of raw text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ft_plugin_data.config import DataConfig
from ft_plugin_trainer.config import EvaluationConfig, TrainerConfig
from ft_plugin_trainer.encoding import NextTokenCollator, identity
from ft_plugin_trainer.objective import NextToken
from ft_plugin_trainer.targets import IGNORE
from ft_plugin_trainer.trainer import FtkTrainer
from ftk.contracts import Encoded, Example
from ftk.markers import hookimpl
from ftk.problems import RowError, RunError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ftk.contracts import Parts
    from ftk.run import Run


class Pt:
    @hookimpl
    def ftk_encoder(self, run: Run, tokenizer: PreTrainedTokenizerBase) -> PtEncoder:
        if tokenizer.eos_token_id is None:
            raise RunError("the tokenizer has no end-of-text token to end documents with", "add one to the tokenizer")
        return PtEncoder(tokenizer, cutoff_len=run.config[DataConfig].cutoff_len)

    @hookimpl
    def ftk_build_trainer(self, run: Run, parts: Parts) -> FtkTrainer:
        """``ftk_loss`` may give a function from the tokens' log-probabilities (N) to their losses (N)."""
        objective = Perplexity(
            label_smoothing=run.config[TrainerConfig].label_smoothing_factor,
            accuracy=run.config[EvaluationConfig].compute_accuracy,
            token_loss=run.loss(),
            policy=parts.model,
        )
        return FtkTrainer(run, parts, objective)


class Perplexity(NextToken):
    def summary(self, means: dict[str, float]) -> dict[str, float]:
        try:
            return means | {"perplexity": math.exp(means["loss"])}
        except OverflowError:
            return means | {"perplexity": math.inf}


class PtEncoder:
    """Documents -> ``input_ids`` and ``labels``. A document ends with the end-of-text token.

    One longer than ``cutoff_len`` becomes several sequences. Each but the first begins with the last token of the one
    before, as context only, so that every token after a document's first is a target exactly once.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, cutoff_len: int) -> None:
        if cutoff_len < 2:
            raise RunError(f"cutoff_len={cutoff_len} leaves no token to predict", "set it to 2 or more")
        self.tokenizer, self.cutoff_len = tokenizer, cutoff_len
        self.collate = NextTokenCollator(tokenizer.pad_token_id)
        self.fingerprint = identity(tokenizer, "pt", cutoff_len)

    def encode(self, examples: Sequence[Example]) -> list[list[Encoded] | RowError]:
        texts = [text_of(example) for example in examples]
        usable = [text for text in texts if text]
        # With its own special tokens, so that a model that wants a token of beginning gets it; the end is ours.
        ids = iter(self.tokenizer(usable, verbose=False)["input_ids"] if usable else [])
        return [self._sequences(next(ids)) if text else RowError("no text") for text in texts]

    def _sequences(self, ids: list[int]) -> list[Encoded]:
        eos = self.tokenizer.eos_token_id
        ids = ids if ids and ids[-1] == eos else [*ids, eos]
        return [Encoded({"input_ids": part, "labels": labels}) for part, labels in self._parts(ids)]

    def _parts(self, ids: list[int]) -> Iterator[tuple[list[int], list[int]]]:
        yield ids[: self.cutoff_len], ids[: self.cutoff_len]
        for start in range(self.cutoff_len - 1, len(ids) - 1, self.cutoff_len - 1):
            part = ids[start : start + self.cutoff_len]
            yield part, [IGNORE, *part[1:]]


def text_of(example: Example) -> str:
    """The raw text, or else what the messages say."""
    if example.text is not None:
        return example.text
    contents = (message.get("content") for message in example.messages)
    return "\n".join(content for content in contents if isinstance(content, str) and content)
