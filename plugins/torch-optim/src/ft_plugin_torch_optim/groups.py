"""Which parameters an optimizer decays, and which of them are hidden matrices."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn

NOT_DECAYED = re.compile(r"bias|layernorm|rmsnorm|(?:^|[._])norm(?:$|\.)")
"""Names of parameters without weight decay: those that transformers' Trainer leaves out."""


def parameter_groups(
    model: nn.Module, weight_decay: float, *, without: Iterable[nn.Parameter] = ()
) -> list[dict[str, Any]]:
    """The trainable parameters, each in one group: those with weight decay, and biases and norms without.

    without: parameters that the caller puts in groups of its own. Groups without parameters are left out.
    """
    seen = {id(p) for p in without}
    decayed, others = [], []
    for name, module, parameter in _trainable(model):
        if id(parameter) in seen:
            continue
        seen.add(id(parameter))
        plain = isinstance(module, nn.LayerNorm) or NOT_DECAYED.search(name.lower())
        (others if plain else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Trainable two-dimensional weights, without those of embeddings, of the output head, and vectors in disguise."""
    outer = [m for m in model.modules() if isinstance(m, nn.Embedding)]
    for getter in ("get_input_embeddings", "get_output_embeddings"):
        if (module := getattr(model, getter, lambda: None)()) is not None:
            outer.append(module)
    left_out = {id(p) for module in outer for p in module.parameters()}
    matrices = {id(p): p for _, _, p in _trainable(model) if p.ndim == 2 and min(p.shape) > 1}
    return [p for key, p in matrices.items() if key not in left_out]


def _trainable(model: nn.Module) -> Iterator[tuple[str, nn.Module, nn.Parameter]]:
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix=path, recurse=False):
            if parameter.requires_grad:
                yield name, module, parameter
