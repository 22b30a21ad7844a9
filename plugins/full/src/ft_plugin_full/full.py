"""Every weight trains."""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedModel

from ft_plugin_hf.config import HfConfig
from ft_plugin_trainer.config import TrainerConfig
from ftk.markers import hookimpl
from ftk.run import Run

HALF = (torch.float16, torch.bfloat16)


class Full:
    @hookimpl
    def ftk_adapt_model(self, run: Run, model: PreTrainedModel) -> PreTrainedModel:
        if run.plan.action == "train":
            model.requires_grad_(True)
            prepare(run, model)
        return model


def prepare(run: Run, model: PreTrainedModel) -> None:
    """Make a model whose ``requires_grad`` is set ready to train."""
    hold_in_float32(run, model)
    kwargs = run.config[TrainerConfig].activation_checkpointing_kwargs or {}
    if run.config[HfConfig].use_reentrant_gc or kwargs.get("use_reentrant"):
        # Reentrant checkpointing drops the gradients of a block none of whose inputs wants one.
        model.enable_input_require_grads()
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    run.logger.info("%s of %s parameters train (%.2f %%)", f"{trainable:,}", f"{total:,}", 100 * trainable / total)


def hold_in_float32(run: Run, model: nn.Module) -> None:
    """Hold what trains in float32, unless ``pure_bf16``: a step of AdamW is often smaller than half precision resolves.

    Without mixed precision nothing translates between float32 layers and frozen ones of another type, so that then the
    frozen ones become float32 too.
    """
    config = run.config[TrainerConfig]
    if config.pure_bf16:
        return
    mixed = config.bf16 or (config.fp16 and torch.accelerator.is_available())
    halves = [p for p in model.parameters() if p.dtype in HALF]
    if not mixed and any(not p.requires_grad for p in halves):
        run.logger.info("the frozen weights are held in float32 too, because neither bf16 nor fp16 is set")
    for p in halves:
        if p.requires_grad or not mixed:
            p.data = p.data.float()
