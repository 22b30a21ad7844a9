"""``torch.compile``, layer by layer."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from ftk.problems import RunError

from .targets import unwrapped

if TYPE_CHECKING:
    from .config import TrainerConfig

VARIANTS = 64
"""Graphs of one layer's code: with and without gradient, adapter and mask, of one row and of several, first and later
layers. torch stops compiling, in silence, at 8."""


def wants_compiled(config: TrainerConfig) -> bool:
    return config.torch_compile or bool(config.torch_compile_backend or config.torch_compile_mode)


def compile_layers(model: nn.Module, config: TrainerConfig) -> int:
    """Compile the forward pass of each layer of the model in place, when it first runs; returns how many there are.

    Not the whole model: layers of a kind share one graph, so that 30 of them compile in the time of one; what a stage
    does at the output head stays as it is; and no name in a state dict changes. Sizes are dynamic, as the lengths of
    rows differ from step to step. Layers that fill a key-value cache run as they were: each length of it would be
    compiled anew. RunError where there is no compiler, or the model names no layers.
    """
    backend = config.torch_compile_backend or "inductor"
    _require_compiler(model, backend)
    names = set(getattr(unwrapped(model), "_no_split_modules", None) or ())
    layers = [module for module in model.modules() if type(module).__name__ in names]
    if not layers:
        raise RunError("torch_compile: this model does not say which of its modules are layers", "unset torch_compile")
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, VARIANTS)
    for layer in layers:
        compiled = torch.compile(layer.forward, dynamic=True, backend=backend, mode=config.torch_compile_mode)
        layer.forward = _unless_cached(layer.forward, compiled)
    return len(layers)


@contextlib.contextmanager
def failing_kindly() -> Iterator[None]:
    """Failures of the compiler as RunError."""
    try:
        yield
    except TorchDynamoException as e:
        first = next((line for line in str(e).splitlines() if line.strip()), type(e).__name__)
        raise RunError(f"torch_compile: torch cannot compile this model here: {first}", "unset torch_compile") from e


def _unless_cached(plain: Callable, compiled: Callable) -> Callable:
    @functools.wraps(plain)
    def forward(*args: Any, **kwargs: Any) -> Any:
        return (compiled if kwargs.get("past_key_values") is None else plain)(*args, **kwargs)

    return forward


def _require_compiler(model: nn.Module, backend: str) -> None:
    """On a CPU, inductor writes C++."""
    program = os.environ.get("CXX", "g++")
    if backend == "inductor" and next(model.parameters()).device.type == "cpu" and shutil.which(program) is None:
        message = f"torch_compile needs a C++ compiler on a CPU, and there is no {program!r}"
        raise RunError(message, "install g++, name another one in CXX, or unset torch_compile")
