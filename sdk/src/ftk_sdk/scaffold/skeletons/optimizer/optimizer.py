"""Descent along the sign of the averaged gradient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

from ft_plugin_trainer.config import TrainerConfig
from ftk.markers import hookimpl

from .config import SkeletonNameConfig

if TYPE_CHECKING:
    from ftk.run import Run


class SkeletonName:
    @hookimpl
    def ftk_build_optimizer(self, run: Run, model: torch.nn.Module) -> torch.optim.Optimizer:
        trained = [p for p in model.parameters() if p.requires_grad]
        momentum = run.config[SkeletonNameConfig].skeleton_name_momentum
        return SignDescent(trained, lr=run.config[TrainerConfig].learning_rate, momentum=momentum)


class SignDescent(torch.optim.Optimizer):
    """w <- w - lr * sign(m), where m <- momentum * m + (1 - momentum) * gradient."""

    def __init__(self, params: Iterable[Any], lr: float, momentum: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                average = self.state[p].setdefault("average", torch.zeros_like(p))
                average.lerp_(p.grad, 1 - group["momentum"])
                p.sub_(average.sign(), alpha=group["lr"])
        return loss
