"""Optimizers of ``torch.optim`` with the trainer's keys."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from ft_plugin_trainer.config import TrainerConfig
from ftk.markers import hookimpl
from ftk.problems import RunError

from .arguments import parse_optim_args
from .groups import hidden_matrices, parameter_groups
from .muon import MuonWithAdamW


class TorchOptimizer:
    """An optimizer as torch has it. ``cls`` is its name in ``torch.optim``."""

    def __init__(self, cls: str) -> None:
        self.cls = getattr(torch.optim, cls)

    @hookimpl
    def ftk_build_optimizer(self, run, model: nn.Module) -> torch.optim.Optimizer:
        config = run.config[TrainerConfig]
        groups = parameter_groups(model, config.weight_decay)
        if not groups:
            raise RunError(
                "no parameter of the model is trainable", "check finetuning_type and the keys that freeze layers"
            )
        arguments = adamw_arguments(config) if self.cls is torch.optim.AdamW else {"lr": config.learning_rate}
        extra = extra_arguments(self.cls, config, taken={*arguments, "weight_decay"})
        with refusals_reported():
            return self.cls(groups, **arguments, **extra)


class Muon:
    """Muon for hidden matrices with steps as large as AdamW's (arXiv:2502.16982, equation 4), AdamW for the rest."""

    @hookimpl
    def ftk_build_optimizer(self, run, model: nn.Module) -> torch.optim.Optimizer:
        config = run.config[TrainerConfig]
        matrices = hidden_matrices(model)
        if not matrices:
            raise RunError("muon found no trainable hidden matrix in this model", "set optim: adamw and unset use_muon")
        extra = extra_arguments(torch.optim.Muon, config, taken={"lr", "weight_decay"})
        with refusals_reported():
            return MuonWithAdamW(
                [{"params": matrices, "weight_decay": config.weight_decay}],
                parameter_groups(model, config.weight_decay, without=matrices),
                muon={"lr": config.learning_rate, "adjust_lr_fn": "match_rms_adamw"} | extra,
                adamw=adamw_arguments(config),
            )


@contextlib.contextmanager
def refusals_reported() -> Iterator[None]:
    """An optimizer that refuses a value of its arguments says so as RunError."""
    try:
        yield
    except (TypeError, ValueError) as e:
        hint = "check learning_rate, weight_decay, the adam keys and optim_args"
        raise RunError(f"the optimizer refuses its arguments: {e}", hint) from e


def adamw_arguments(config: TrainerConfig) -> dict[str, Any]:
    betas = (config.adam_beta1, config.adam_beta2)
    return {"lr": config.learning_rate, "betas": betas, "eps": config.adam_epsilon}


def extra_arguments(cls: type, config: TrainerConfig, *, taken: set[str]) -> dict[str, Any]:
    """What ``optim_args`` adds for ``cls``. RunError for a name that it does not take, or that has its own key."""
    extra = parse_optim_args(config.optim_args)
    accepted = set(inspect.signature(cls).parameters) - {"params"} - taken
    for name in extra:
        if name not in accepted:
            what = "has a key of its own" if name in taken else f"is no argument of {cls.__name__}"
            raise RunError(f"optim_args: {name!r} {what}", f"use one of {', '.join(sorted(accepted))}")
    return extra
