"""What this plugin offers. Imports nothing heavy."""

import os

from ft_plugin_trainer.config import TrainerConfig
from ftk.component import Component
from ftk.markers import hookimpl
from ftk.problems import Problem

from .config import GaloreConfig

OPTIM = {
    "adamw_torch": "adamw",
    "adamw_torch_fused": "adamw",
    "galore_adamw": "adamw",
    "adafactor": "adafactor",
    "galore_adafactor": "adafactor",
}
"""Value of ``optim`` -> the optimizer that runs in the projected space."""


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="optimizer",
            name="galore",
            target="ft_plugin_galore.optimizer:Galore",
            summary="Full-parameter training with low-rank gradients (arXiv:2403.03507)",
            conflicts=("adapter:lora", "accelerator:deepspeed", "accelerator:fsdp"),
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_galore.config:GaloreConfig"]


@hookimpl
def ftk_check(plan) -> list[Problem]:
    galore, trainer = plan.config[GaloreConfig], plan.config[TrainerConfig]
    problems = _optim_problems(trainer)
    for key in ("galore_rank", "galore_update_interval"):
        if (value := getattr(galore, key)) < 1:
            problems.append(Problem("error", f"{key}={value} is not positive", f"set {key} to 1 or more", key=key))
    if galore.galore_layerwise:
        problems += _layerwise_problems(trainer)
    return problems


def _optim_problems(trainer: TrainerConfig) -> list[Problem]:
    problems = []
    if trainer.optim not in OPTIM:
        message = f"optim: {trainer.optim!r} has no GaLore variant"
        if trainer.optim.endswith("8bit"):
            message += ": galore_torch has an 8-bit AdamW, but for CUDA and an older bitsandbytes only"
        problems.append(Problem("error", message, "set optim to adamw_torch or adafactor", key="optim"))
    if trainer.optim_args:
        problems.append(Problem("error", "optim_args has no effect on GaLore", "unset optim_args", key="optim_args"))
    return problems


def _layerwise_problems(trainer: TrainerConfig) -> list[Problem]:
    def refused(why: str, hint: str, key: str = "galore_layerwise") -> Problem:
        return Problem("error", f"galore_layerwise updates weights in the backward pass, {why}", hint, key=key)

    problems = []
    if (steps := trainer.gradient_accumulation_steps) > 1:
        why = f"so gradients cannot be accumulated over {steps} batches"
        problems.append(refused(why, "set gradient_accumulation_steps: 1", "gradient_accumulation_steps"))
    if trainer.auto_find_batch_size:
        why = "and cannot begin again with smaller batches"
        problems.append(refused(why, "set auto_find_batch_size: false", "auto_find_batch_size"))
    if trainer.fp16:
        problems.append(refused("before fp16's scaled gradients are scaled back", "use bf16 instead of fp16", "fp16"))
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        problems.append(refused("before gradients are averaged over processes", "start a single process"))
    if trainer.max_grad_norm > 0:
        message = f"galore_layerwise frees gradients before max_grad_norm={trainer.max_grad_norm} could clip them"
        problems.append(Problem("warning", message, "set max_grad_norm: 0", key="max_grad_norm"))
    return problems
