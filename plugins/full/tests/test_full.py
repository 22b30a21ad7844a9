import logging

import pytest
import torch

from ft_plugin_full import plugin
from ftk_sdk.contracts import AdapterContract, PluginContract
from ftk_sdk.testing import make_run
from ftk_sdk.tiny import tiny_llama

IDS = torch.arange(24).view(2, 12) * 7 % 512


class TestPlugin(PluginContract):
    plugin = plugin


class TestAdapter(AdapterContract):
    component = "adapter:full"
    trains = r"."


def adapted(model, action="train", **keys):
    return make_run(keys, components=["adapter:full"], action=action).adapt_model(model)


def test_every_weight_trains_and_nothing_changes():
    base = tiny_llama()
    before = base(IDS).logits
    model = adapted(base.requires_grad_(False))
    assert all(p.requires_grad for p in model.parameters())
    assert torch.equal(model(IDS).logits, before)


@pytest.mark.parametrize(
    ("keys", "dtype"), [({}, torch.float32), ({"bf16": True}, torch.float32), ({"pure_bf16": True}, torch.bfloat16)]
)
def test_half_precision_weights_train_in_float32_unless_pure_bf16(keys, dtype):
    model = adapted(tiny_llama(dtype=torch.bfloat16), **keys)
    assert {p.dtype for p in model.parameters()} == {dtype}


def test_upcast_weights_have_the_same_values():
    base = tiny_llama(dtype=torch.bfloat16)
    before = [p.clone() for p in base.parameters()]
    after = adapted(base).parameters()
    assert all(torch.equal(p.float(), q) for p, q in zip(before, after, strict=True))


def test_float64_stays_float64():
    assert {p.dtype for p in adapted(tiny_llama(dtype=torch.float64)).parameters()} == {torch.float64}


@pytest.mark.parametrize("action", ["chat", "export"])
def test_after_training_the_model_is_left_as_it_was_loaded(action):
    model = adapted(tiny_llama(dtype=torch.bfloat16), action)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_tied_weights_stay_tied():
    model = adapted(tiny_llama(dtype=torch.bfloat16, tied=True))
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_the_log_says_how_much_trains(caplog):
    with caplog.at_level(logging.INFO, logger="ftk"):
        adapted(tiny_llama())
    assert "parameters train (100.00 %)" in caplog.text
