"""Adapters merged into the weights, in float32."""

from __future__ import annotations

import warnings
from collections import Counter

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import PreTrainedModel

from ftk.problems import RunError


@torch.no_grad()
def merged(model: PeftModel, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """The base model with the active adapters merged into its weights, in place.

    Each layer is merged in float32 and then rounded once to ``dtype``, or to its own type when not given. A weight that
    the adapter changes in one place only, such as a head tied to the embeddings, gets a copy of its own.
    Raises RunError for adapters that cannot be merged, and when a merged weight is not finite.
    """
    kind = str(getattr(model.peft_config[model.active_adapters[0]].peft_type, "value", "adapter"))
    if not hasattr(model.base_model, "merge_and_unload"):
        raise RunError(
            f"an adapter of type {kind} cannot be merged into weights", "load it with peft beside its base model"
        )
    uses = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    for name, layer in model.named_modules():
        if isinstance(layer, BaseTunerLayer):
            try:
                _merge_layer(layer, uses, dtype)
            except ValueError as e:
                raise RunError(f"the adapter cannot be merged into {name}: {e}", "was its training unstable?") from e
    with warnings.catch_warnings():
        # Every layer is merged already; what is left to do is to take the wrappers off and to note untied embeddings.
        warnings.simplefilter("ignore")
        return model.merge_and_unload()


def _merge_layer(layer: BaseTunerLayer, uses: Counter[int], dtype: torch.dtype | None) -> None:
    base = layer.get_base_layer()
    own = dict(base.named_parameters(recurse=False))
    types = {name: p.dtype for name, p in own.items() if p.is_floating_point()}
    for name, p in own.items():
        if uses[id(p)] > 1:
            setattr(base, name, nn.Parameter(p.detach().clone(), requires_grad=p.requires_grad))
    for p in layer.parameters():
        if p.is_floating_point():
            p.data = p.data.float()
    layer.merge(safe_merge=True)
    for name, p in base.named_parameters(recurse=False):
        if name in types:
            p.data = p.data.to(dtype or types[name])
