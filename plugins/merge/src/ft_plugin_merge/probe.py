"""Whether a merge changed what the model says."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from ftk.problems import RunError

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Largest accepted gap by type: some ten times what rounding in that type makes of a model of 30 layers."""

ROWS, LENGTH = 4, 32


@dataclass(frozen=True)
class Gap:
    """How far logits are from where they should be: norm of the difference over norm of the right ones."""

    relative: float
    allowed: float

    @property
    def percent(self) -> str:
        return f"{100 * self.relative:.2g} %"


@torch.no_grad()
def probe_logits(model: nn.Module, vocabulary: int) -> torch.Tensor:
    """Logits of the fixed probe batch, [rows, length, vocabulary] in float32 on the CPU, without dropout."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(vocabulary, (ROWS, LENGTH), generator=generator)
    training = model.training
    model.eval()
    try:
        device = next(model.parameters()).device
        return model(input_ids=ids.to(device), use_cache=False).logits.float().cpu()
    finally:
        model.train(training)


def compare(right: torch.Tensor, made: torch.Tensor, *dtypes: torch.dtype) -> Gap:
    """The gap between two tensors of logits, and what rounding in the coarsest of ``dtypes`` may make of it.

    Raises RunError when it is larger.
    """
    allowed = max(TOLERANCE[dtype] for dtype in dtypes)
    gap = Gap(((made - right).norm() / right.norm()).item(), allowed)
    if not gap.relative <= allowed:  # a comparison with nan is false
        message = f"the merged model does not say what the unmerged one says: logits differ by {gap.percent}"
        hint = f"up to {100 * allowed:g} % is rounding; infer_dtype: float32 rounds less"
        raise RunError(message, hint)
    return gap


def require_finite(model: PreTrainedModel) -> None:
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            broken = "nan" if parameter.isnan().any() else f"values too large for {_name(parameter.dtype)}"
            raise RunError(
                f"{name} holds {broken}", "was the training unstable? infer_dtype: float32 holds large values"
            )


def require_room(model: PreTrainedModel, gigabytes: int, itemsize: int) -> None:
    """Raise RunError when a tensor is larger than a file may be. Stacked experts are saved one by one."""
    largest = max(p.numel() // (len(p) if p.ndim == 3 else 1) for p in model.parameters()) * itemsize / 1e9
    if largest > gigabytes:
        message = f"export_size={gigabytes} is smaller than the largest tensor ({largest:.1f} GB)"
        raise RunError(message, f"set export_size to at least {math.ceil(largest)}")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
