"""Types of the weights, and layers that compute in a larger one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ft_plugin_trainer.config import TrainerConfig

from .config import HfConfig, HfInferenceConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ftk.run import Run


def weight_dtype(run: Run) -> torch.dtype | str:
    """The type to load weights in; ``"auto"`` is the checkpoint's own.

    It is the same for every role: before the first step a policy equals its reference.
    """
    wanted = run.config[HfConfig].model_dtype
    if run.plan.action != "train":
        inference = run.config[HfInferenceConfig].infer_dtype
        wanted = wanted if inference == "auto" else inference
    elif wanted == "auto":
        wanted = _training_dtype(run)
    return wanted if wanted == "auto" else getattr(torch, wanted)


def _training_dtype(run: Run) -> str:
    """float32 for weights that an optimizer updates: in bfloat16 most of its steps are too small to change them."""
    trainer = run.config[TrainerConfig]
    if trainer.pure_bf16:
        return "bfloat16"
    if "adapter:full" in run.plan:
        return "float32"
    if trainer.bf16:
        return "bfloat16"
    return "float16" if trainer.fp16 else "auto"


def upcast_norms(model: PreTrainedModel) -> int:
    """Compute normalisation layers in float32, and return the type that came in. Returns how many there are."""
    named_norm = [m for m in model.modules() if type(m).__name__.endswith("Norm")]
    norms = [m for m in named_norm if any(True for _ in m.parameters(recurse=False))]
    for norm in norms:
        norm.float()
        norm.register_forward_pre_hook(_widen)
        norm.register_forward_hook(_narrow)
    return len(norms)


def _widen(norm: torch.nn.Module, args: tuple) -> tuple:
    norm.input_dtype = args[0].dtype
    return (args[0].float(), *args[1:])


def _narrow(norm: torch.nn.Module, args: tuple, output: torch.Tensor) -> torch.Tensor:
    return output.to(norm.input_dtype)


def upcast_logits(model: PreTrainedModel) -> None:
    """Give the loss logits in float32."""
    model.get_output_embeddings().register_forward_hook(lambda head, args, logits: logits.float())
