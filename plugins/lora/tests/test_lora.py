import copy
import json
import logging

import pytest
import torch
from peft import PeftModel
from torch.func import functional_call
from transformers import AutoModelForCausalLM, MixtralConfig

from ft_plugin_lora import plugin
from ft_plugin_peft.merging import merged
from ftk.problems import ConfigError, RunError
from ftk_sdk.contracts import AdapterContract, PluginContract
from ftk_sdk.testing import installed, make_plan, make_run
from ftk_sdk.tiny import tiny_llama

IDS = torch.arange(24).view(2, 12) * 7 % 512


class TestPlugin(PluginContract):
    plugin = plugin


class TestAdapter(AdapterContract):
    component = "adapter:lora"
    keys = {"lora_rank": 4}
    trains = r"\.lora_[AB]\.default\.weight$"


def adapted(model=None, components=("adapter:lora",), **keys):
    return make_run(keys, components=components).adapt_model(tiny_llama() if model is None else model)


def with_noise(model: PeftModel, scale: float = 0.3, seed: int = 1) -> PeftModel:
    """The model as if training had changed its adapter."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.data += scale * noise.to(parameter.dtype)
    return model


def loss_of(logits: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())


def test_a_new_adapter_changes_nothing():
    base = tiny_llama()
    before = base(IDS).logits
    assert torch.equal(adapted(base)(IDS).logits, before)


def test_only_the_adapter_trains_and_every_layer_has_one():
    model = adapted()
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(trainable) == 2 * 2 * 7, "A and B of seven linear layers in two blocks"
    assert all(".lora_A." in name or ".lora_B." in name for name in trainable)


def test_rank_alpha_and_dropout_reach_the_layers():
    layer = adapted(lora_rank=3, lora_alpha=12, lora_dropout=0.5).base_model.model.model.layers[0].mlp.up_proj
    assert layer.lora_A["default"].weight.shape == (3, 32)
    assert layer.scaling["default"] == 4.0
    assert layer.lora_dropout["default"].p == 0.5


def test_alpha_is_twice_the_rank_when_not_given():
    assert adapted(lora_rank=5).peft_config["default"].lora_alpha == 10


def test_loss_and_gradients_are_those_of_the_papers_formula():
    base = tiny_llama(dtype=torch.float64)
    plain = copy.deepcopy(base)
    model = with_noise(adapted(base, lora_rank=4, lora_alpha=6))
    loss = loss_of(model(IDS).logits)
    loss.backward()

    weights, parts = {}, {}
    for name, module in model.base_model.model.named_modules():
        if hasattr(module, "lora_A"):
            a, b = (
                getattr(module, x)["default"].weight.detach().clone().requires_grad_() for x in ("lora_A", "lora_B")
            )
            parts[name] = (a, b)
            weights[f"{name}.weight"] = plain.get_parameter(f"{name}.weight").detach() + 6 / 4 * b @ a
    expected = loss_of(functional_call(plain, weights, (IDS,)).logits)
    expected.backward()

    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
    for name, (a, b) in parts.items():
        module = model.base_model.model.get_submodule(name)
        torch.testing.assert_close(module.lora_A["default"].weight.grad, a.grad, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(module.lora_B["default"].weight.grad, b.grad, rtol=1e-9, atol=1e-12)


def test_merging_gives_the_same_logits_and_a_plain_model():
    model = with_noise(adapted())
    before = model(IDS).logits
    plain = merged(model)
    assert type(plain).__name__ == "LlamaForCausalLM"
    torch.testing.assert_close(plain(IDS).logits, before, rtol=1e-4, atol=1e-4)


def test_the_saved_adapter_loads_in_plain_peft(tmp_path):
    model = with_noise(adapted(lora_target="q_proj,v_proj"))
    model.save_pretrained(tmp_path)
    assert sorted(json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"]) == ["q_proj", "v_proj"]
    torch.testing.assert_close(PeftModel.from_pretrained(tiny_llama(), tmp_path)(IDS).logits, model(IDS).logits)


@pytest.mark.parametrize(("keys", "dtype"), [({"bf16": True}, torch.float32), ({"pure_bf16": True}, torch.bfloat16)])
def test_the_adapter_of_a_bfloat16_model_is_float32_unless_pure_bf16(keys, dtype):
    model = adapted(tiny_llama(dtype=torch.bfloat16), additional_target="lm_head", **keys)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {dtype}
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {torch.bfloat16}


def test_a_bfloat16_model_trains_without_mixed_precision_too():
    model = adapted(tiny_llama(dtype=torch.bfloat16), additional_target="embed_tokens,lm_head")
    loss_of(model(IDS).logits).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_the_same_seed_gives_the_same_adapter():
    first, second, other = (adapted(seed=seed).state_dict() for seed in (1, 1, 2))
    key = "base_model.model.model.layers.0.mlp.up_proj.lora_A.default.weight"
    assert torch.equal(first[key], second[key])
    assert not torch.equal(first[key], other[key])


def test_additional_modules_train_in_full_and_are_saved(tmp_path):
    model = with_noise(adapted(additional_target="lm_head"))
    assert [n for n, p in model.named_parameters() if p.requires_grad and "lora" not in n] == [
        "base_model.model.lm_head.modules_to_save.default.weight"
    ]
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(PeftModel.from_pretrained(tiny_llama(), tmp_path)(IDS).logits, model(IDS).logits)


def test_tied_embeddings_that_train_stay_tied(tmp_path):
    model = with_noise(adapted(tiny_llama(tied=True), additional_target="embed_tokens,lm_head"))
    inner = model.base_model.model
    head = next(p for n, p in inner.lm_head.named_parameters() if "modules_to_save" in n or "weight" in n)
    assert len([n for n, p in model.named_parameters() if p.requires_grad and "lora" not in n]) == 1
    assert head.shape == inner.get_input_embeddings().weight.shape
    before = model(IDS).logits
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(tiny_llama(tied=True), tmp_path)
    torch.testing.assert_close(again(IDS).logits, before)
    plain = merged(again)
    torch.testing.assert_close(plain(IDS).logits, before, rtol=1e-4, atol=1e-4)
    plain.save_pretrained(tmp_path / "merged")
    torch.testing.assert_close(
        type(plain).from_pretrained(tmp_path / "merged")(IDS).logits, before, rtol=1e-4, atol=1e-4
    )


def test_the_config_stays_as_it_was_written():
    run = make_run({"additional_target": "embed_tokens,lm_head"}, components=["adapter:lora"])
    run.adapt_model(tiny_llama(tied=True))
    assert run.config.value("additional_target") == ["embed_tokens", "lm_head"]


def test_an_additional_module_that_does_not_exist_is_an_error():
    with pytest.raises(RunError, match=r"additional_target: 'wte' matches no module.*\n.*embed_tokens"):
        adapted(additional_target="wte")


def test_embeddings_train_when_the_run_adds_tokens():
    model = adapted(add_special_tokens="<a>,<b>")
    assert {"embed_tokens", "lm_head"} == set(model.peft_config["default"].modules_to_save)


@pytest.mark.parametrize(
    "keys", [{"use_reentrant_gc": True}, {"activation_checkpointing_kwargs": {"use_reentrant": True}}]
)
def test_gradients_flow_through_reentrant_checkpoints(keys):
    model = adapted(**keys)
    model.activation_checkpointing_enable({"use_reentrant": True})
    model.train()
    loss_of(model(IDS).logits).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_an_adapter_that_is_trained_further_keeps_its_settings_and_the_log_says_so(tmp_path, caplog):
    with_noise(adapted(lora_rank=4)).save_pretrained(tmp_path)
    with caplog.at_level(logging.INFO, logger="ftk"):
        model = adapted(adapter_name_or_path=str(tmp_path), lora_rank=16)
    assert model.peft_config["default"].r == 4
    assert any("lora_rank=16 is not used" in r.message for r in caplog.records)
    assert not any("lora_alpha=32" in r.message for r in caplog.records), "not a key that the user set"


def test_peft_s_word_for_all_is_understood():
    assert make_plan({"lora_target": "all-linear"}, components=["adapter:lora"]).config.value("lora_target") == ["all"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"lora_rank": 0}, "lora_rank=0"),
        ({"lora_dropout": 1.0}, "lora_dropout=1.0"),
        ({"lora_target": []}, "lora_target is empty"),
    ],
)
def test_values_that_cannot_work_are_refused_when_planning(keys, message):
    with pytest.raises(ConfigError, match=message):
        make_plan(keys, components=["adapter:lora"])


def test_lora_is_what_a_config_without_finetuning_type_means():
    (lora,) = [c for c in installed().offered().values() if c.kind == "adapter" and c.default]
    assert lora.id == "adapter:lora"


def test_experts_refuse_dropout_with_a_message():
    config = MixtralConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_local_experts=2
    )
    with pytest.raises(RunError, match="lora cannot adapt this model"):
        adapted(AutoModelForCausalLM.from_config(config), lora_target="experts.down_proj", lora_dropout=0.1)
