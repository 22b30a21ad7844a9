"""Supervised fine-tuning: the mean cross-entropy of the tokens that the template gives weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ft_plugin_data.config import DataConfig
from ft_plugin_data.truncation import Fitted, Fitting
from ft_plugin_trainer.config import EvaluationConfig, TrainerConfig
from ft_plugin_trainer.encoding import NextTokenCollator, identity
from ft_plugin_trainer.objective import NextToken
from ft_plugin_trainer.targets import IGNORE
from ft_plugin_trainer.trainer import FtkTrainer
from ftk.contracts import Encoded, Example, Message, Template
from ftk.markers import hookimpl
from ftk.problems import RowError

from .config import SftConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ftk.contracts import Parts
    from ftk.run import Run


class Sft:
    @hookimpl
    def ftk_encoder(self, run: Run, tokenizer: PreTrainedTokenizerBase, template: Template) -> SftEncoder:
        return SftEncoder(tokenizer, Fitting.configured(run.config[DataConfig], template))

    @hookimpl
    def ftk_build_trainer(self, run: Run, parts: Parts) -> FtkTrainer:
        """``ftk_loss`` may give a function from the targets' log-probabilities (N) to their losses (N), or a
        ``PredictionLoss`` of ``ft_plugin_trainer.predictions``.
        """
        objective = NextToken(
            label_smoothing=run.config[TrainerConfig].label_smoothing_factor,
            accuracy=run.config[EvaluationConfig].compute_accuracy,
            token_loss=run.loss(),
            z_loss=run.config[SftConfig].z_loss_coefficient,
            policy=parts.model,
        )
        return FtkTrainer(run, parts, objective)


class SftEncoder:
    """Conversations -> ``input_ids``, ``labels``, and ``weights`` where a token counts neither 0 nor 1."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, fitting: Fitting, *, stage: str = "sft") -> None:
        self.fitting, self.stage = fitting, stage
        self.collate = NextTokenCollator(tokenizer.pad_token_id)
        self.fingerprint = identity(tokenizer, "sft", fitting.template.fingerprint, fitting.settings)

    def encode(self, examples: Sequence[Example]) -> list[list[Encoded] | RowError]:
        conversations = [self._conversation(example) for example in examples]
        usable = [c for c in conversations if not isinstance(c, RowError)]
        fitted = iter(self.fitting.encode(usable))
        return [c if isinstance(c, RowError) else encoded(next(fitted)) for c in conversations]

    def _conversation(self, example: Example) -> tuple[Sequence[Message], Sequence[Mapping[str, Any]]] | RowError:
        if example.chosen or example.rejected:
            return RowError(f"a chosen and a rejected answer, where 'stage: {self.stage}' wants one")
        if not example.messages or example.text:
            wanted = f"raw text, where 'stage: {self.stage}' wants messages"
            return RowError(wanted if example.text else "no messages")
        return example.messages, example.tools


def encoded(fitted: Fitted | RowError) -> list[Encoded] | RowError:
    if isinstance(fitted, RowError):
        return fitted
    ids, weights = fitted.tokens.input_ids, fitted.tokens.weights
    columns = {
        "input_ids": ids,
        "labels": [token if weight else IGNORE for token, weight in zip(ids, weights, strict=True)],
        "weights": None if {*weights} <= {0.0, 1.0} else weights,
    }
    return [Encoded(columns, truncated=fitted.truncated, where=fitted.where)]
