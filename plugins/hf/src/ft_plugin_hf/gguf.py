"""Weights from a GGUF file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def dequantized(model: PreTrainedModel) -> PreTrainedModel:
    """Forget that the weights came from a GGUF file.

    transformers 5 dequantizes them while loading, but leaves its quantizer on the model, and then refuses to save it.
    """
    model.hf_quantizer = None
    model.is_quantized = False
    for owner in (model, model.config):
        for name in ("quantization_method", "quantization_config"):
            if name in vars(owner):
                delattr(owner, name)
    return model
