"""Modules that a stage trains beside the model: part of it for optimizers and wrappers, not for whoever loads it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ftk.problems import RunError


def attach(model: nn.Module, modules: Mapping[str, nn.Module]) -> None:
    """Make ``modules`` children of the model, on its device, that its state dict does not know of.

    So optimizers, gradient clipping and wrappers for several processes take them for the model's own, while the files
    of the model stay those of its architecture.
    """
    for name, module in modules.items():
        if hasattr(model, name):
            raise ValueError(f"{type(model).__name__} has an attribute {name!r}; the module needs another name")
        model.add_module(name, module.to(next(model.parameters()).device))
        model.register_state_dict_post_hook(partial(_leave_out, name))
        model.register_load_state_dict_post_hook(partial(_not_missing, name))


def save(modules: Mapping[str, nn.Module], folder: Path) -> None:
    """Each module's state dict as ``<name>.safetensors``."""
    for name, module in modules.items():
        tensors = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
        save_file(tensors, folder / f"{name}.safetensors", metadata={"format": "pt"})


def load(modules: Mapping[str, nn.Module], folder: Path) -> None:
    """Put back what ``save`` wrote. RunError where it is not there or does not fit."""
    for name, module in modules.items():
        path = folder / f"{name}.safetensors"
        if not path.is_file():
            raise RunError(f"{str(folder)!r} has no {path.name}", "resume from a checkpoint of the same stage")
        try:
            module.load_state_dict(load_file(path))
        except (RuntimeError, SafetensorError) as e:
            lines = str(e).splitlines()
            raise RunError(f"{str(path)!r} does not fit: {lines[-1].strip()}", "was it trained on this model?") from e


def _leave_out(name: str, model: nn.Module, state: dict[str, torch.Tensor], prefix: str, metadata: Any) -> None:
    for key in [key for key in state if key.startswith(f"{prefix}{name}.")]:
        del state[key]


def _not_missing(name: str, model: nn.Module, found: Any) -> None:
    found.missing_keys[:] = [key for key in found.missing_keys if f"{name}." not in key]
