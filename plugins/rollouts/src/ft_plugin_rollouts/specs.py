"""The extension point of rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ftk.markers import hookspec

if TYPE_CHECKING:
    import torch
    import transformers

    from ftk.contracts import Template
    from ftk.run import Run

    from .sampling import Sampling


class RolloutEngine(Protocol):
    """What generates with the weights as they are now."""

    def generate(
        self, model: torch.nn.Module, prompts: Sequence[list[int]], sampling: Sampling, *, step: int, seed: int
    ) -> list[list[int]]:
        """New token ids for each prompt, in order.

        model     the model that is being trained, without wrappers; an engine with weights of its own updates them
        prompts   token ids; a prompt that shall have several completions is there several times
        step      optimizer steps made so far: weights differ when it does
        seed      the same arguments give the same ids

        A completion ends with its first id of ``sampling.stop_ids``, with the token that completes one of
        ``sampling.stop_strings``, or after ``sampling.max_new_tokens``. What comes after an end is cut off.
        """
        ...


class RolloutSpecs:
    @hookspec(firstresult=True)
    def ftk_rollout_engine(
        self, run: Run, tokenizer: transformers.PreTrainedTokenizerBase, template: Template
    ) -> RolloutEngine | Any:
        """What generates while training. One provider, a component of the kind ``rollout-engine``; then wrappers.

        Called   once, before the first step
        Returns  an engine
        Default  transformers, with the model that is being trained
        Example  ``return VllmEngine(run.config[VllmConfig])``
        """
