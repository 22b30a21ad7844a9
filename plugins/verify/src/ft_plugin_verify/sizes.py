"""Smaller configs of the same architecture."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

from transformers import PreTrainedConfig

HEADS, HEAD_DIM = 4, 16
WIDE = ("hidden_size", "d_model", "n_embd", "dim", "embed_dim")
"""Names of the width that everything else follows."""
AT_MOST = {
    "num_attention_heads": HEADS,
    "n_head": HEADS,
    "num_heads": HEADS,
    "head_dim": HEAD_DIM,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "experts_per_token": 2,
    "moe_topk": 2,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "q_lora_rank": 32,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": HEAD_DIM,
    "qk_rope_head_dim": HEAD_DIM,
    "v_head_dim": HEAD_DIM,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": HEADS,
    "linear_key_head_dim": HEAD_DIM,
    "linear_value_head_dim": HEAD_DIM,
    "mamba_n_heads": HEADS,
    "mamba_d_head": 2 * HEAD_DIM,
    "mamba_d_state": HEAD_DIM,
    "mamba_n_groups": 1,
    "hidden_size_per_layer_input": HEAD_DIM,
}
"""Sizes that may shrink on their own."""
IN_PROPORTION = ("intermediate_size", "moe_intermediate_size", "shared_expert_intermediate_size", "ffn_dim", "n_inner")
PER_LAYER = ("layer_types", "mlp_layer_types", "layers_block_type", "no_rope_layers", "block_types")
DEPTHS = ("num_hidden_layers", "n_layer", "num_layers", "depth")


def shrunken(config: PreTrainedConfig, hidden_size: int) -> PreTrainedConfig:
    """The config with few, narrow layers, of every kind that it has; its vocabulary stays, and so do its tokens.

    A config that is small already comes back as it is.
    """
    text = config.get_text_config()
    width = _of(text, WIDE)
    if width is None or getattr(text, width) <= hidden_size:
        return config
    small = copy.deepcopy(config)
    for part in {id(c): c for c in (small, small.get_text_config(), *_parts(small))}.values():
        _shrink(part, hidden_size)
    return small


def _parts(config: PreTrainedConfig) -> list[PreTrainedConfig]:
    return [value for value in vars(config).values() if isinstance(value, PreTrainedConfig)]


def _shrink(config: PreTrainedConfig, hidden_size: int) -> None:
    width = _of(config, WIDE)
    if width is None:
        return
    ratio = hidden_size / getattr(config, width)
    heads = getattr(config, "num_attention_heads", None) or 1
    old_head = getattr(config, "head_dim", None) or getattr(config, width) // heads
    key_heads = getattr(config, "num_key_value_heads", None)
    for name, most in AT_MOST.items():
        if isinstance(value := getattr(config, name, None), int) and not isinstance(value, bool):
            setattr(config, name, min(value, most))
    if key_heads is not None:
        config.num_key_value_heads = min(key_heads, HEADS // 2 if key_heads < heads else HEADS)
    for name in IN_PROPORTION:
        if isinstance(value := getattr(config, name, None), int):
            setattr(config, name, max(32, round(value * ratio / 16) * 16))
    setattr(config, width, hidden_size)
    _cut_layers(config)
    _cut_rope(config, old_head, getattr(config, "head_dim", None) or hidden_size // HEADS)


def _cut_layers(config: PreTrainedConfig) -> None:
    """Two layers, or as many from the first as show every kind of layer."""
    depth = _of(config, DEPTHS)
    if depth is None:
        return
    lists = {n: v for n in PER_LAYER if isinstance(v := getattr(config, n, None), list) and len(v) > 2}
    least = max([2, *(1 + max(values.index(kind) for kind in set(values)) for values in lists.values())])
    layers = min(getattr(config, depth), least)
    for name, values in lists.items():
        with contextlib.suppress(AttributeError):  # a property, worked out from the number of layers
            setattr(config, name, values[:layers])
    setattr(config, depth, layers)


def _cut_rope(config: PreTrainedConfig, old_head: int, new_head: int) -> None:
    """Factors for each frequency: as many as the smaller head has; sections of a head that add up to its half."""
    rope = getattr(config, "rope_parameters", None)
    for values in [rope, *(rope or {}).values()] if isinstance(rope, dict) else []:
        if isinstance(values, dict):
            for name, value in values.items():
                values[name] = _fitted(name, value, old_head, new_head)


def _fitted(name: str, value: Any, old_head: int, new_head: int) -> Any:
    if not isinstance(value, list) or new_head >= old_head:
        return value
    if name == "mrope_section":
        rest = [new_head // 2 // len(value)] * len(value)
        return [rest[0] + new_head // 2 - sum(rest), *rest[1:]]
    return value[: max(1, len(value) * new_head // old_head)]


def _of(config: PreTrainedConfig, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if isinstance(getattr(config, name, None), int)), None)
