import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSequenceClassification,
    Gemma3Config,
    GPT2Config,
    LlamaConfig,
    MixtralConfig,
    Qwen2MoeConfig,
)

from ft_plugin_lora.targets import choose, linear_layers
from ftk.problems import RunError
from ftk_sdk.tiny import tiny_llama

SMALL = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def names_of(model: nn.Module) -> set[str]:
    return {name.rpartition(".")[2] for name in linear_layers(model)}


@pytest.mark.parametrize("tied", [False, True])
def test_all_means_every_linear_layer_but_the_head_even_where_the_head_is_tied(tied):
    model = tiny_llama(tied=tied)
    everything = {name for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    assert set(linear_layers(model)) == everything - {"lm_head"}
    assert choose(model, ["all"]).modules == [
        "down_proj",
        "gate_proj",
        "k_proj",
        "o_proj",
        "q_proj",
        "up_proj",
        "v_proj",
    ]


def test_all_finds_the_transposed_layers_of_gpt2():
    model = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4))
    assert names_of(model) == {"c_attn", "c_fc", "c_proj"}
    assert len(linear_layers(model)) == 2 * 4


def test_experts_of_a_mixture_are_no_linear_layers_but_can_be_named():
    model = AutoModelForCausalLM.from_config(MixtralConfig(**SMALL, num_key_value_heads=2, num_local_experts=4))
    assert names_of(model) == {"q_proj", "k_proj", "v_proj", "o_proj"}
    targets = choose(model, ["all", "experts.gate_up_proj"])
    assert targets.modules == ["k_proj", "o_proj", "q_proj", "v_proj"]
    assert targets.parameters == ["experts.gate_up_proj"]


def test_shared_experts_of_a_mixture_are_linear_layers():
    config = Qwen2MoeConfig(**SMALL, num_key_value_heads=2, num_experts=4, moe_intermediate_size=16)
    assert {"up_proj", "shared_expert_gate"} <= names_of(AutoModelForCausalLM.from_config(config))


def test_the_vision_tower_and_its_projector_stay_as_they_are():
    text = {**SMALL, "num_key_value_heads": 2, "head_dim": 8}
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    vision |= {"image_size": 28, "patch_size": 14}
    model = AutoModelForImageTextToText.from_config(
        Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    )
    layers = linear_layers(model)
    assert layers and all("language_model" in name for name in layers)
    modules = choose(model, ["all"]).modules
    matched = {n for n, m in model.named_modules() if any(n == t or n.endswith(f".{t}") for t in modules)}
    assert matched == set(layers), "the shortened names mean these layers and no others"


def test_the_head_of_a_classifier_is_left_out():
    model = AutoModelForSequenceClassification.from_config(LlamaConfig(**SMALL, num_labels=1))
    assert not [name for name in linear_layers(model) if name == "score"]


def test_one_layer_can_be_named_by_its_path():
    assert choose(tiny_llama(), ["layers.1.mlp.up_proj"]).modules == ["model.layers.1.mlp.up_proj"]


def test_the_head_is_adapted_when_named():
    assert "lm_head" in choose(tiny_llama(), ["all", "lm_head"]).modules


def test_a_target_that_matches_nothing_is_an_error_that_lists_the_names_there_are():
    with pytest.raises(RunError, match=r"'query' matches no layer of this model\n.*down_proj.*q_proj"):
        choose(tiny_llama(), ["q_proj", "query"])


def test_quantised_layers_are_known_by_their_name():
    class QuantLinear(nn.Module):
        qweight = torch.zeros(1)

    model = tiny_llama()
    model.model.layers[0].self_attn.q_proj = QuantLinear()
    assert "model.layers.0.self_attn.q_proj" in linear_layers(model)
