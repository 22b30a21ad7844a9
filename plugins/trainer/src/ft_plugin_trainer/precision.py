"""Which weights are kept in float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

AUTOCAST = {torch.bfloat16: "bf16", torch.float16: "fp16"}
"""Type of the frozen weights -> the key that makes the forward pass compute in it."""


def train_in_float32(model: nn.Module, arguments: Mapping[str, Any]) -> str | None:
    """Keep trained weights in float32: in a lower precision small updates are lost.

    Returns the key of the mixed precision that this makes necessary, when ``arguments`` ask for none: where frozen
    weights stay in a lower precision, products of both need autocast. An adapter that keeps its own weights in float32
    converts its inputs itself, and is left alone.
    """
    if arguments.get("deepspeed") or arguments.get("fsdp"):
        return None  # they hold a float32 copy themselves
    raised = False
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype in AUTOCAST:
            parameter.data = parameter.data.float()
            raised = True
    frozen = {p.dtype for p in model.parameters() if p.dtype in AUTOCAST}
    if not raised or not frozen or arguments.get("bf16") or arguments.get("fp16"):
        return None
    return AUTOCAST[torch.bfloat16 if torch.bfloat16 in frozen else torch.float16]
