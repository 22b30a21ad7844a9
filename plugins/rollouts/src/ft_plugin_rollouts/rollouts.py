"""Completions of prompts by the model that is being trained."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import nn

from ft_plugin_generate.config import GenerateConfig, InferConfig
from ft_plugin_generate.engine import stops_of
from ft_plugin_trainer.targets import unwrapped
from ftk.contracts import Template
from ftk.problems import RunError

from .config import RolloutsConfig
from .generation import TransformersEngine
from .sampling import Sampling, ended

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ftk.run import Run

    from .prompts import Prompt
    from .specs import RolloutEngine

EVERY_TOKEN = {"temperature": 1.0, "top_p": 1.0, "top_k": 0}
"""For ``unset``: completions are drawn from the very distribution that is trained."""
KEYS = ("do_sample", "temperature", "top_p", "top_k", "repetition_penalty", "max_new_tokens")


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer."""

    ids: list[int]
    """With the token that ended it: the model chose that one too."""
    text: str
    """Without what ended it, and without control tokens if ``skip_special_tokens``."""
    finished: bool
    """It ended by itself, rather than at ``max_new_tokens``."""


class Rollouts:
    """Generates with the run's engine, by the keys of ``GenerateConfig``.

    unset   what a stage wants of those keys where the user did not set them
    """

    def __init__(
        self,
        run: Run,
        tokenizer: PreTrainedTokenizerBase,
        template: Template,
        *,
        unset: Mapping[str, Any] | None = None,
    ) -> None:
        own, wishes = run.config[GenerateConfig], unset or {}
        values = {key: getattr(own, key) for key in KEYS}
        values |= {key: value for key, value in wishes.items() if not run.config.was_set(key)}
        if values["max_new_tokens"] < 1:
            raise RunError("max_new_tokens must be at least 1 to train on completions", "set max_new_tokens: 256")
        self.sampling = Sampling(use_cache=run.config[InferConfig].use_kv_cache, **values)
        self.seed, self.tokenizer, self.template = run.seed, tokenizer, template
        self.skip = own.skip_special_tokens
        self.engine: RolloutEngine = run.single(
            "ftk_rollout_engine", run=run, tokenizer=tokenizer, template=template
        ) or TransformersEngine(tokenizer, batch=run.config[RolloutsConfig].rollouts_batch_size)

    def generate(
        self, model: nn.Module, prompts: Sequence[list[int]], *, n: int = 1, step: int = 0
    ) -> list[list[Completion]]:
        """``n`` completions of each prompt, given as token ids.

        The run's seed, ``step`` and the process give the random numbers, whatever was drawn before: pass
        ``Objective.step``, and a resumed run draws alike. The model comes back in the mode that it was in.
        """
        model = unwrapped(model)
        stop_ids, stop_strings = stops_of(model, self.tokenizer, self.template.stop)
        sampling = replace(self.sampling, stop_ids=stop_ids, stop_strings=stop_strings)
        repeated = [prompt for prompt in prompts for _ in range(n)]
        seed = seed_of(self.seed, step, os.environ.get("RANK", "0"))
        made = self.engine.generate(model, repeated, sampling, step=step, seed=seed) if repeated else []
        if len(made) != len(repeated):
            raise RunError(f"the rollout engine gave {len(made)} completions for {len(repeated)} prompts")
        completions = [self._completion(ids, sampling) for ids in made]
        return [completions[at : at + n] for at in range(0, len(completions), n)]

    def _completion(self, ids: Sequence[int], sampling: Sampling) -> Completion:
        return Completion(*ended(ids, sampling.stop_ids, sampling.stop_strings, self._decode))

    def _decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=self.skip)


def columns_of(prompts: Sequence[Prompt], completions: Sequence[Completion]) -> dict[str, list[Any]]:
    """What rewards are given beside prompts and completions; ``None`` where a row has no such column."""
    names = dict.fromkeys(name for prompt in prompts for name in prompt.columns)
    columns = {name: [prompt.columns.get(name) for prompt in prompts] for name in names}
    return columns | {"finished": [completion.finished for completion in completions]}


def seed_of(*parts: object) -> int:
    """A seed in which neighbouring numbers have nothing in common."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1
