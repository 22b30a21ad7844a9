"""Rollouts by transformers, in the training process and with the model that is being trained."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedTokenizerBase

from ft_plugin_generate.engine import SAMPLING
from ft_plugin_trainer.modes import evaluating
from ftk.problems import RunError

from .sampling import Sampling


class TransformersEngine:
    """Left-padded batches with a cache of keys and values.

    batch  completions at once; which random numbers a completion gets depends on it
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, batch: int) -> None:
        self.tokenizer, self.batch = tokenizer, batch

    def generate(
        self, model: nn.Module, prompts: Sequence[list[int]], sampling: Sampling, *, step: int, seed: int
    ) -> list[list[int]]:
        if any(isinstance(p, DTensor) or hasattr(p, "ds_id") for p in model.parameters()):
            message = "the weights are sharded over processes, and transformers generates with whole ones only"
            raise RunError(message, "train without sharding, or name another rollouts_engine")
        limit = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
        if limit is not None:
            if (longest := max(map(len, prompts))) >= limit:
                raise RunError(f"a prompt has {longest} tokens, and the model takes {limit}", "lower cutoff_len")
            sampling = replace(sampling, max_new_tokens=min(sampling.max_new_tokens, limit - longest))
        made: list[list[int]] = []
        with answering(model), torch.random.fork_rng():
            torch.manual_seed(seed)
            for start in range(0, len(prompts), self.batch):
                made += self._batch(model, prompts[start : start + self.batch], sampling)
        return made

    def _batch(self, model: nn.Module, prompts: Sequence[list[int]], sampling: Sampling) -> list[list[int]]:
        device = model.get_input_embeddings().weight.device
        width = max(map(len, prompts))
        ids_BT = torch.full((len(prompts), width), self.tokenizer.pad_token_id, device=device)
        mask_BT = torch.zeros_like(ids_BT)
        for row, prompt in enumerate(prompts):
            ids_BT[row, width - len(prompt) :] = torch.tensor(prompt, device=device)
            mask_BT[row, width - len(prompt) :] = 1
        arguments = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
        out_BT = model.generate(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            max_new_tokens=sampling.max_new_tokens,
            do_sample=sampling.do_sample,
            repetition_penalty=sampling.repetition_penalty,
            eos_token_id=list(sampling.stop_ids) or None,
            pad_token_id=self.tokenizer.pad_token_id,
            stop_strings=list(sampling.stop_strings) or None,
            tokenizer=self.tokenizer if sampling.stop_strings else None,
            use_cache=sampling.use_cache,
            **(arguments if sampling.do_sample else {}),
        )
        return out_BT[:, width:].tolist()


@contextlib.contextmanager
def answering(model: nn.Module) -> Iterator[None]:
    """Without gradients, dropout and checkpointing, and without what the model's author recommends for sampling."""
    config = model.generation_config
    recommended = {name: getattr(config, name) for name in SAMPLING if hasattr(config, name)}
    for name in recommended:
        setattr(config, name, None)
    try:
        with torch.no_grad(), evaluating(model):
            yield
    finally:
        for name, value in recommended.items():
            setattr(config, name, value)
