import logging

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, Gemma3Config, GPT2Config

from ft_plugin_freeze import plugin
from ft_plugin_freeze.freeze import trainable_names
from ftk.problems import ConfigError, RunError
from ftk_sdk.contracts import AdapterContract, PluginContract
from ftk_sdk.testing import make_plan, make_run
from ftk_sdk.tiny import tiny_llama

IDS = torch.arange(24).view(2, 12) * 7 % 512


class TestPlugin(PluginContract):
    plugin = plugin


class TestAdapter(AdapterContract):
    component = "adapter:freeze"
    keys = {"freeze_trainable_layers": 1, "freeze_extra_modules": "norm"}
    trains = r"^model\.(layers\.1|norm)\."


def adapted(model=None, action="train", **keys):
    run = make_run(keys, components=["adapter:freeze"], action=action)
    return run.adapt_model(tiny_llama(layers=4) if model is None else model)


def layers_of(model) -> set[int]:
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    assert all(name.startswith("model.layers.") for name in names)
    return {int(name.split(".")[2]) for name in names}


@pytest.mark.parametrize(("number", "layers"), [(1, {3}), (2, {2, 3}), (4, {0, 1, 2, 3}), (-1, {0}), (-3, {0, 1, 2})])
def test_positive_numbers_count_from_the_end_and_negative_ones_from_the_start(number, layers):
    model = adapted(freeze_trainable_layers=number)
    assert layers_of(model) == layers
    per_layer = len(list(model.model.layers[0].parameters()))
    assert sum(p.requires_grad for p in model.parameters()) == per_layer * len(layers)


def test_two_layers_train_by_default():
    assert layers_of(adapted()) == {2, 3}


def test_parts_of_layers_can_be_chosen():
    model = adapted(freeze_trainable_modules="mlp,input_layernorm")
    names = {name.partition("layers.")[2] for name, p in model.named_parameters() if p.requires_grad}
    parts = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "input_layernorm")
    assert names == {f"{i}.{part}.weight" for i in (2, 3) for part in parts}


def test_parts_outside_the_layers_can_be_added():
    model = adapted(freeze_extra_modules="norm,lm_head")
    outside = {name for name, p in model.named_parameters() if p.requires_grad and ".layers." not in name}
    assert outside == {"model.norm.weight", "lm_head.weight"}


def test_all_extra_modules_are_everything_outside_the_layers():
    model = adapted(freeze_extra_modules="all")
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {
        name for name, _ in model.named_parameters() if name.startswith(("model.layers.0.", "model.layers.1."))
    }


def test_a_tied_head_trains_with_the_embeddings():
    model = adapted(tiny_llama(layers=4, tied=True), freeze_extra_modules="lm_head")
    assert model.model.embed_tokens.weight.requires_grad


def test_extra_modules_alone_are_enough():
    model = adapted(freeze_trainable_layers=0, freeze_extra_modules="lm_head")
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["lm_head.weight"]


def test_layers_of_gpt2_are_found():
    model = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=64, n_embd=32, n_layer=3, n_head=4))
    names = trainable_names(model, 1, ["attn"], ["ln_f"])
    assert names == {f"transformer.h.2.attn.{n}.{p}" for n in ("c_attn", "c_proj") for p in ("weight", "bias")} | {
        "transformer.ln_f.weight",
        "transformer.ln_f.bias",
    }


def test_layers_of_a_vision_model_are_those_of_its_language_model():
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = {**sizes, "vocab_size": 64, "num_key_value_heads": 2, "head_dim": 8}
    config = Gemma3Config(
        text_config=text, vision_config={**sizes, "image_size": 28, "patch_size": 14}, mm_tokens_per_image=4
    )
    names = trainable_names(AutoModelForImageTextToText.from_config(config), 1, ["all"], [])
    assert names and all(name.startswith("model.language_model.layers.1.") for name in names)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"freeze_trainable_layers": 5}, r"freeze_trainable_layers=5, but the model has 4 layers"),
        ({"freeze_trainable_modules": "ffn"}, r"'ffn' is not a part of this model\n.*mlp.*self_attn.*all"),
        ({"freeze_extra_modules": "wte"}, r"'wte' is not a part of this model\n.*embed_tokens.*lm_head.*norm"),
    ],
)
def test_what_the_model_does_not_have_is_an_error_that_lists_what_it_has(keys, message):
    with pytest.raises(RunError, match=message):
        adapted(**keys)


def test_nothing_to_train_is_refused_when_planning():
    with pytest.raises(ConfigError, match="leaves nothing to train"):
        make_plan({"freeze_trainable_layers": 0}, components=["adapter:freeze"])


def test_only_the_chosen_parameters_get_gradients_and_logits_are_unchanged():
    base = tiny_llama(layers=4)
    before = base(IDS).logits
    model = adapted(base)
    logits = model(IDS).logits
    assert torch.equal(logits, before)
    logits.sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())


def test_in_mixed_precision_only_what_trains_is_float32():
    model = adapted(tiny_llama(layers=4, dtype=torch.bfloat16), bf16=True)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {torch.bfloat16}
    with torch.autocast("cpu", torch.bfloat16):
        model(IDS).logits.sum().backward()


def test_without_mixed_precision_all_is_float32_and_the_log_says_so(caplog):
    with caplog.at_level(logging.INFO, logger="ftk"):
        model = adapted(tiny_llama(layers=4, dtype=torch.bfloat16))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert "the frozen weights are held in float32 too" in caplog.text
    model(IDS).logits.sum().backward()


def test_pure_bf16_keeps_everything_in_bfloat16():
    model = adapted(tiny_llama(layers=4, dtype=torch.bfloat16), pure_bf16=True)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_gradients_flow_through_reentrant_checkpoints():
    model = adapted(freeze_trainable_layers=1, use_reentrant_gc=True)
    model.activation_checkpointing_enable({"use_reentrant": True})
    model.train()
    model(IDS).logits.sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())
