"""Supervised fine-tuning: the mean cross-entropy of the tokens that the template gives weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ft_plugin_data.config import DataConfig
from ft_plugin_trainer.config import EvaluationConfig, TrainerConfig
from ft_plugin_trainer.encoding import NextTokenCollator, identity
from ft_plugin_trainer.objective import NextToken
from ft_plugin_trainer.targets import IGNORE
from ft_plugin_trainer.trainer import FtkTrainer
from ftk.contracts import Encoded, Example, Message, Template, Tokens
from ftk.markers import hookimpl
from ftk.problems import RowError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ftk.contracts import Parts
    from ftk.run import Run


class Sft:
    @hookimpl
    def ftk_encoder(self, run: Run, tokenizer: PreTrainedTokenizerBase, template: Template) -> SftEncoder:
        data = run.config[DataConfig]
        train_on = "all" if data.train_on_prompt else "last" if data.mask_history else "assistant"
        return SftEncoder(tokenizer, template, cutoff_len=data.cutoff_len, train_on=train_on)

    @hookimpl
    def ftk_build_trainer(self, run: Run, parts: Parts) -> FtkTrainer:
        """``ftk_loss`` may give a function from the targets' log-probabilities (N) to their losses (N)."""
        objective = NextToken(
            label_smoothing=run.config[TrainerConfig].label_smoothing_factor,
            accuracy=run.config[EvaluationConfig].compute_accuracy,
            token_loss=run.loss(),
        )
        return FtkTrainer(run, parts, objective)


class SftEncoder:
    """Conversations -> ``input_ids``, ``labels``, and ``weights`` where a token counts neither 0 nor 1."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        template: Template,
        *,
        cutoff_len: int,
        train_on: Literal["assistant", "last", "all"] = "assistant",
    ) -> None:
        self.template, self.cutoff_len, self.train_on = template, cutoff_len, train_on
        self.collate = NextTokenCollator(tokenizer.pad_token_id)
        self.fingerprint = identity(tokenizer, "sft", template.fingerprint, cutoff_len, train_on)

    def encode(self, examples: Sequence[Example]) -> list[list[Encoded] | RowError]:
        conversations = [self._conversation(example) for example in examples]
        usable = [c for c in conversations if not isinstance(c, RowError)]
        tokens = iter(self.template.encode(usable, train_on=self.train_on))
        return [c if isinstance(c, RowError) else self._encoded(next(tokens)) for c in conversations]

    def _conversation(self, example: Example) -> tuple[Sequence[Message], Sequence[Mapping[str, Any]]] | RowError:
        if example.chosen or example.rejected:
            return RowError("a chosen and a rejected answer, where 'stage: sft' wants one")
        if not example.messages:
            return RowError("raw text, where 'stage: sft' wants messages" if example.text else "no messages")
        return example.messages, example.tools

    def _encoded(self, tokens: Tokens | RowError) -> list[Encoded] | RowError:
        if isinstance(tokens, RowError):
            return tokens
        ids, kept = tokens.input_ids[: self.cutoff_len], tokens.weights[: self.cutoff_len]
        # Nothing predicts the first token, so its weight does not help.
        if not any(kept[1:]):
            if any(tokens.weights[1:]):
                return RowError(f"the first answer begins after cutoff_len={self.cutoff_len} tokens")
            return RowError("no token carries loss")
        columns = {
            "input_ids": ids,
            "labels": [token if weight else IGNORE for token, weight in zip(ids, kept, strict=True)],
            "weights": None if all(weight in (0, 1) for weight in kept) else kept,
        }
        return [Encoded(columns, truncated=len(tokens.input_ids) - len(ids))]
