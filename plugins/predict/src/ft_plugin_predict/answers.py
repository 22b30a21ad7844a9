"""Batches of answers by transformers, to the prompts of encoded rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from ft_plugin_generate.config import GenerateConfig, InferConfig
from ft_plugin_generate.engine import arguments_of, stops_of
from ft_plugin_rollouts.generation import answering
from ft_plugin_rollouts.rollouts import seed_of
from ft_plugin_rollouts.sampling import ended
from ft_plugin_trainer.targets import unwrapped
from ftk.contracts import Template
from ftk.problems import RunError

from .config import PredictConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ftk.run import Run


class Answers:
    """Answers by the keys of ``GenerateConfig``, and of ``PredictConfig`` where those are set."""

    def __init__(self, run: Run, tokenizer: PreTrainedTokenizerBase, template: Template) -> None:
        self.tokenizer, self.template, self.seed = tokenizer, template, run.seed
        config, own = run.config[GenerateConfig], run.config[PredictConfig]
        settings = {f.name: getattr(config, f.name) for f in dataclasses.fields(GenerateConfig)}
        self.skip = settings.pop("skip_special_tokens")
        length = own.generation_max_length
        if length is not None:
            settings["max_length"] = length
        if (length is not None or run.config.was_set("max_length")) and not run.config.was_set("max_new_tokens"):
            settings["max_new_tokens"] = 0
        if own.generation_num_beams is not None:
            settings["num_beams"] = own.generation_num_beams
        self.settings = settings | {"use_cache": run.config[InferConfig].use_kv_cache}

    def generate(self, model: nn.Module, prompts: Sequence[Sequence[int]], *, part: object) -> list[str]:
        """An answer to each prompt, given as token ids. The run's seed and ``part`` give the random numbers."""
        model = unwrapped(model)
        if any(isinstance(p, DTensor) or hasattr(p, "ds_id") for p in model.parameters()):
            message = "the weights are sharded over processes, and transformers generates with whole ones only"
            raise RunError(message, "predict in a run of its own, without sharding")
        stop_ids, stop_strings = stops_of(model, self.tokenizer, self.template.stop)
        ids_BT, mask_BT = left_padded(prompts, self.tokenizer.pad_token_id, device_of(model))
        with answering(model), torch.random.fork_rng():
            torch.manual_seed(seed_of(self.seed, "predict", part))
            out_BT = model.generate(
                input_ids=ids_BT,
                attention_mask=mask_BT,
                eos_token_id=stop_ids or None,
                pad_token_id=self.tokenizer.pad_token_id,
                stop_strings=stop_strings or None,
                tokenizer=self.tokenizer if stop_strings else None,
                **self._arguments(model, ids_BT.shape[1]),
            )
        made = out_BT[:, ids_BT.shape[1] :].tolist()
        return [ended(ids, stop_ids, stop_strings, self.decode)[1] for ids in made]

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=self.skip)

    def _arguments(self, model: Any, prompt: int) -> dict[str, Any]:
        limit = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
        try:
            return arguments_of(self.settings, prompt, limit)
        except RunError as e:
            raise RunError(f"no room for an answer: {e.message}", "lower cutoff_len") from None


def left_padded(
    prompts: Sequence[Sequence[int]], pad_token_id: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and their mask, (B, T) each."""
    width = max(map(len, prompts))
    ids_BT = torch.full((len(prompts), width), pad_token_id, device=device)
    mask_BT = torch.zeros_like(ids_BT)
    for row, prompt in enumerate(prompts):
        ids_BT[row, width - len(prompt) :] = torch.tensor(prompt, device=device)
        mask_BT[row, width - len(prompt) :] = 1
    return ids_BT, mask_BT


def device_of(model: Any) -> torch.device:
    return model.get_input_embeddings().weight.device
