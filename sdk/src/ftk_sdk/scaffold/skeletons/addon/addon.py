"""Dropout behind the input embeddings, in training only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from ftk.markers import hookimpl

from .config import SkeletonNameConfig

if TYPE_CHECKING:
    from collections.abc import Generator

    from ftk.run import Run


class SkeletonName:
    # A wrapper: what it yields for is the model that the loader, and wrappers before it in the plan, made.
    @hookimpl(wrapper=True)
    def ftk_load_model(self, run: Run) -> Generator[None, PreTrainedModel, PreTrainedModel]:
        model = yield
        return with_dropout(model, run.config[SkeletonNameConfig].skeleton_name_rate)


def with_dropout(model: PreTrainedModel, rate: float) -> PreTrainedModel:
    """The model, whose input embeddings lose ``rate`` of their values in training."""

    def drop(module: nn.Module, inputs: tuple, embeddings: torch.Tensor) -> torch.Tensor:
        return F.dropout(embeddings, rate, training=module.training)

    model.get_input_embeddings().register_forward_hook(drop)
    return model
