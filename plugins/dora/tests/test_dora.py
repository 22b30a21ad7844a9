import copy

import pytest
import torch
from peft import PeftModel
from torch.func import functional_call

from ft_plugin_dora import plugin
from ft_plugin_peft.merging import merged
from ftk.problems import ConfigError
from ftk_sdk.contracts import AdapterContract, AddonContract, PluginContract
from ftk_sdk.testing import make_plan, make_run
from ftk_sdk.tiny import tiny_llama

BOTH = ("adapter:lora", "addon:dora")
IDS = torch.arange(24).view(2, 12) * 7 % 512


class TestPlugin(PluginContract):
    plugin = plugin


class TestAddon(AddonContract):
    component = "addon:dora"
    keys = {"use_dora": True}
    beside = ("adapter:lora",)


class TestAdapter(AdapterContract):
    component = "addon:dora"
    keys = {"use_dora": True, "lora_rank": 4}
    beside = ("adapter:lora",)
    trains = r"\.lora_([AB]|magnitude_vector)\.default\.weight$"


def adapted(model=None, **keys) -> PeftModel:
    run = make_run({"use_dora": True, **keys}, components=BOTH)
    return run.adapt_model(tiny_llama() if model is None else model)


def with_noise(model: PeftModel) -> PeftModel:
    """The model as if training had changed its adapter."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(
                parameter.dtype
            )
    return model


def loss_of(logits: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())


def dora_weight(w_OI, a_RI, b_OR, m_O, scale: float) -> torch.Tensor:
    """Equation 5 of arXiv:2402.09353, with the norm held constant in the backward pass (its section 4.3).

    O, I, R: outputs, inputs and rank. The paper's columns are the weights of one output, which torch keeps in a row.
    """
    direction_OI = w_OI + scale * b_OR @ a_RI
    return m_O[:, None] * direction_OI / direction_OI.norm(dim=1, keepdim=True).detach()


def test_the_switch_turns_it_on_and_the_default_leaves_it_off():
    assert adapted().peft_config["default"].use_dora
    assert not make_run(components=["adapter:lora"]).adapt_model(tiny_llama()).peft_config["default"].use_dora
    assert "addon:dora" in dict(make_plan({"use_dora": True}, components=BOTH).reasons)


def test_it_needs_lora():
    with pytest.raises(ConfigError, match="requires adapter:lora"):
        make_plan({"use_dora": True}, components=["addon:dora"])


def test_a_new_adapter_changes_nothing():
    base = tiny_llama()
    before = base(IDS).logits
    torch.testing.assert_close(adapted(base)(IDS).logits, before, rtol=0, atol=1e-6)


def test_the_magnitudes_train_beside_the_matrices():
    model = adapted()
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len([name for name in trainable if "magnitude" in name]) == 2 * 7
    assert len(trainable) == 3 * 2 * 7


def test_loss_and_gradients_are_those_of_the_papers_formula():
    base = tiny_llama(dtype=torch.float64)
    plain = copy.deepcopy(base)
    model = with_noise(adapted(base, lora_rank=4, lora_alpha=6))
    loss = loss_of(model(IDS).logits)
    loss.backward()

    weights, parts, layers = {}, {}, {}
    for name, module in model.base_model.model.named_modules():
        if hasattr(module, "lora_magnitude_vector"):
            own = (module.lora_A["default"], module.lora_B["default"], module.lora_magnitude_vector["default"])
            layers[name] = own
            parts[name] = [layer.weight.detach().clone().requires_grad_() for layer in own]
            weights[f"{name}.weight"] = dora_weight(plain.get_parameter(f"{name}.weight").detach(), *parts[name], 6 / 4)
    expected = loss_of(functional_call(plain, weights, (IDS,)).logits)
    expected.backward()

    assert len(layers) == 2 * 7
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
    for name, own in layers.items():
        for layer, part in zip(own, parts[name], strict=True):
            torch.testing.assert_close(layer.weight.grad, part.grad, rtol=1e-8, atol=1e-12)


def test_merging_gives_the_same_logits():
    model = with_noise(adapted())
    before = model(IDS).logits
    torch.testing.assert_close(merged(model)(IDS).logits, before, rtol=1e-4, atol=1e-4)


def test_the_saved_adapter_loads_in_plain_peft(tmp_path):
    model = with_noise(adapted())
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(PeftModel.from_pretrained(tiny_llama(), tmp_path)(IDS).logits, model(IDS).logits)
