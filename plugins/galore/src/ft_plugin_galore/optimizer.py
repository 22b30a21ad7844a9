"""GaLore (arXiv:2403.03507) by galore_torch."""

from __future__ import annotations

from typing import Any

import torch
from galore_torch import GaLoreAdafactor, GaLoreAdamW
from galore_torch.galore_projector import GaLoreProjector
from torch import nn

from ft_plugin_torch_optim.groups import hidden_matrices, parameter_groups
from ft_plugin_torch_optim.optimizers import adamw_arguments
from ft_plugin_trainer.config import TrainerConfig
from ftk.markers import hookimpl
from ftk.problems import RunError

from .config import GaloreConfig
from .plugin import OPTIM


class Galore:
    @hookimpl
    def ftk_build_optimizer(self, run, model: nn.Module) -> torch.optim.Optimizer:
        config, trainer = run.config[GaloreConfig], run.config[TrainerConfig]
        matrices = projected_weights(model, config.galore_target)
        check_ranks(matrices, config)
        low_rank = {
            "rank": config.galore_rank,
            "update_proj_gap": config.galore_update_interval,
            "scale": config.galore_scale,
            "proj_type": config.galore_proj_type,
        }
        groups = parameter_groups(model, trainer.weight_decay, without=matrices)
        groups.append({"params": matrices, "weight_decay": trainer.weight_decay, **low_rank})
        if OPTIM.get(trainer.optim) == "adafactor":
            # The learning rate is the schedule's, not the one that Adafactor derives from steps and weights.
            optimizer = Adafactor(groups, lr=trainer.learning_rate, relative_step=False, scale_parameter=False)
        else:
            optimizer = AdamW(groups, no_deprecation_warning=True, **adamw_arguments(trainer))
        if config.galore_layerwise:
            step_in_backward(optimizer)
        return optimizer


def projected_weights(model: nn.Module, target: list[str] | str) -> list[nn.Parameter]:
    """The trainable weights of linear layers that ``galore_target`` means. Raises RunError for a name without any.

    A name means every layer whose dotted path holds it whole: ``mlp``, ``q_proj``, ``layers.0``.
    """
    linear = {
        name: m.weight for name, m in model.named_modules() if isinstance(m, nn.Linear) and m.weight.requires_grad
    }
    if target == "all":
        hidden = {id(p) for p in hidden_matrices(model)}
        found = {"all": [w for w in linear.values() if id(w) in hidden]}
    else:
        found = {part: [w for name, w in linear.items() if f".{part}." in f".{name}."] for part in target}
    if absent := [part for part, weights in found.items() if not weights]:
        names = ", ".join(sorted({name.rpartition(".")[2] for name in linear})) or "none"
        message = f"galore_target: {', '.join(map(repr, absent))} matches no trainable linear layer of this model"
        raise RunError(message, f"trainable linear layers: {names}")
    return list({id(w): w for weights in found.values() for w in weights}.values())


def check_ranks(matrices: list[nn.Parameter], config: GaloreConfig) -> None:
    """Raises RunError where galore_torch would project a gradient on one side and its update back on the other."""
    wide = [min(w.shape) for w in matrices if w.shape[0] < w.shape[1]]
    if config.galore_proj_type == "reverse_std" and wide and config.galore_rank >= min(wide):
        message = (
            f"galore_rank={config.galore_rank} is too large for reverse_std: a projected weight has {min(wide)} rows"
        )
        raise RunError(message, f"set galore_rank to at most {min(wide) - 1}")


def step_in_backward(optimizer: torch.optim.Optimizer) -> None:
    """Step each weight as soon as its gradient is there, and free the gradient.

    In its hook a weight is the only one with a gradient, so a step of the whole optimizer is a step of that weight. The
    trainer's own step then finds no gradient, and does nothing.
    """

    def step_and_free(parameter: torch.Tensor) -> None:
        optimizer.step()
        parameter.grad = None

    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.register_post_accumulate_grad_hook(step_and_free)


class SavedProjections(torch.optim.Optimizer):
    """Puts projections into ``state_dict`` as tensors. galore_torch's objects are refused by a safe ``torch.load``."""

    def state_dict(self) -> dict[str, Any]:
        saved = super().state_dict()
        saved["state"] = {
            index: {**state, "projector": state["projector"].ortho_matrix} if "projector" in state else state
            for index, state in saved["state"].items()
        }
        return saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            for state in (self.state[p] for p in group["params"] if "projector" in self.state.get(p, ())):
                projector = GaLoreProjector(
                    group["rank"],
                    update_proj_gap=group["update_proj_gap"],
                    scale=group["scale"],
                    proj_type=group["proj_type"],
                )
                projector.ortho_matrix = state["projector"]
                state["projector"] = projector


class AdamW(SavedProjections, GaLoreAdamW): ...


class Adafactor(SavedProjections, GaLoreAdafactor): ...
