"""Tiny models of many architectures, built in code."""

import torch
import transformers
from transformers import AutoModelForCausalLM

SIZES = {
    "vocab_size": 512,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "pad_token_id": 3,
    "bos_token_id": None,
    "eos_token_id": 2,
}
WINDOW = {"sliding_window": 4}
DELTA = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
KIMI = {
    "linear_num_heads": 2,
    "linear_head_dim": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "num_key_value_heads": 4,
    "layer_types": ["linear_attention", "full_attention"],
}
MAMBA2 = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 8}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}

BY_POSITIONS = {
    "Cohere2": WINDOW,
    "Gemma3Text": WINDOW,
    "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
    "Llama": {},
    "Llama4Text": {"attention_chunk_size": 4, "num_local_experts": 2},
    "Mistral": WINDOW,
    "Qwen3Moe": EXPERTS,
}
BY_MASKS = {"GptOss": EXPERTS | WINDOW, "Mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2}, "OPT": {"ffn_dim": 64}}
BY_DOCUMENT = {
    "Bamba": MAMBA2 | {"attn_layer_indices": [1]},
    "FalconH1": MAMBA2 | {"mamba_d_ssm": 64},
    "FalconMamba": {"state_size": 4},
    "GraniteMoeHybrid": MAMBA2 | EXPERTS | {"layer_types": ["linear_attention", "full_attention"]},
    "Jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 4, "use_mamba_kernels": False},
    "KimiLinear": KIMI,
    "Lfm2": {"layer_types": ["conv", "full_attention"]},
    "Mamba": {"state_size": 4},
    "Mamba2": {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1, "chunk_size": 8},
    "MiniMax": EXPERTS | {"block_size": 8, "layer_types": ["linear_attention", "full_attention"]},
    "NemotronH": {"mamba_num_heads": 8, "mamba_head_dim": 8, "ssm_state_size": 8, "n_groups": 1, "chunk_size": 8},
    "OlmoHybrid": DELTA,
    "Qwen3Next": DELTA | EXPERTS | {"shared_expert_intermediate_size": 16},
    "Qwen3_5Text": DELTA,
    "RecurrentGemma": {"lru_width": 32, "attention_window_size": 4, "block_types": ["recurrent", "attention"]},
}
"""Architectures by what it takes to isolate their documents; of those that run by document, some also take masks."""


def tiny(name: str, **more):
    config = getattr(transformers, f"{name}Config")(
        **SIZES | (BY_POSITIONS | BY_MASKS | BY_DOCUMENT).get(name, {}) | more
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config)
