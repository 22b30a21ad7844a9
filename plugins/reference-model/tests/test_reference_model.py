import importlib.util
import shutil

import pytest
import torch
from torch import nn

from ft_plugin_reference_model import plugin
from ft_plugin_reference_model.reference import SeparateModel, StartingWeights, WithoutAdapter, reference_for
from ftk.markers import hookimpl
from ftk.problems import ConfigError, RunError
from ftk_sdk import fakes
from ftk_sdk.contracts import AddonContract, PluginContract
from ftk_sdk.testing import make_plan, make_run
from ftk_sdk.tiny import tiny_llama, tiny_tokenizer, write_tiny_model

IDS = torch.arange(24).view(2, 12) * 7 % 512
LOADER, ADDON = "loader:hf", "addon:reference-model"


class TestPlugin(PluginContract):
    plugin = plugin


class TestAddon(AddonContract):
    component = "addon:reference-model"
    keys = {"ref_model": "other"}


@pytest.fixture(scope="module")
def adapter_dir(tiny_model_dir, tmp_path_factory):
    """An adapter that was trained before."""
    _, model = begun(tiny_model_dir, "adapter:lora", lora_rank=4)
    changed(model)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    return folder


def begun(model_dir, *components, plugins=None, **keys):
    """A run and its policy before the first step."""
    run = make_run({"model_name_or_path": str(model_dir), **keys}, components=[LOADER, *components], plugins=plugins)
    return run, run.adapt_model(run.load_model()).train()


def changed(model: nn.Module) -> nn.Module:
    """The model as if training had changed all that trains."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.data += 0.1 * noise.to(parameter.dtype)
    return model


def logits_of(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


def require_starting_point(run, model, kind, *, tolerance: float = 0.0) -> None:
    """The reference has the policy's first logits, before and after it was trained, and leaves the policy as it is."""
    before = logits_of(model.eval())
    model.train()
    reference = reference_for(run, model)
    assert type(reference) is kind
    for _ in range(2):
        trains = {name: (p.requires_grad, p.detach().clone()) for name, p in model.named_parameters()}
        modes = [module.training for module in model.modules()]
        with reference.active(model) as module:
            assert not torch.is_grad_enabled() and not module.training
            torch.testing.assert_close(module(IDS).logits, before, rtol=0, atol=tolerance)
        assert [module.training for module in model.modules()] == modes
        for name, parameter in model.named_parameters():
            assert parameter.requires_grad == trains[name][0] and torch.equal(parameter, trains[name][1]), name
        changed(model)
        assert not torch.allclose(logits_of(model), before, atol=1e-3)


@pytest.mark.parametrize(
    ("components", "keys", "kind"),
    [
        (["adapter:full"], {}, StartingWeights),
        (["adapter:freeze"], {"freeze_trainable_layers": 1}, StartingWeights),
        (["adapter:lora"], {"lora_dropout": 0.5}, WithoutAdapter),
        (["adapter:lora"], {"additional_target": "lm_head"}, WithoutAdapter),
    ],
    ids=["full", "freeze", "lora", "lora with a head that trains"],
)
def test_the_reference_is_the_policy_as_it_was(tiny_model_dir, components, keys, kind):
    require_starting_point(*begun(tiny_model_dir, *components, **keys), kind)


def test_a_new_dora_is_switched_off(tiny_model_dir):
    # Its quotient of two equal norms is 1 up to rounding.
    run, model = begun(tiny_model_dir, "adapter:lora", "addon:dora", use_dora=True)
    require_starting_point(run, model, WithoutAdapter, tolerance=1e-6)


def test_of_an_adapter_that_is_trained_further_a_copy_is_kept(tiny_model_dir, adapter_dir):
    run, model = begun(tiny_model_dir, "adapter:lora", adapter_name_or_path=str(adapter_dir))
    require_starting_point(run, model, StartingWeights)
    assert set(reference_for(run, model).weights) == {n for n, p in model.named_parameters() if p.requires_grad}


def test_below_a_new_adapter_are_those_that_were_merged(tiny_model_dir, adapter_dir):
    keys = {"adapter_name_or_path": str(adapter_dir), "create_new_adapter": True}
    run, model = begun(tiny_model_dir, "adapter:lora", **keys)
    assert not torch.allclose(logits_of(model), logits_of(tiny_llama()), atol=1e-2)
    require_starting_point(run, model, WithoutAdapter)


class TakesFromTheWeights:
    @hookimpl
    def ftk_lora_kwargs(self):
        return {"init_lora_weights": "pissa"}


def test_an_adapter_that_took_its_values_out_of_the_weights_is_not_switched_off(tiny_model_dir):
    plugins = fakes.installed_with(fakes.plugin("takes", offers={"addon:takes": TakesFromTheWeights}))
    require_starting_point(*begun(tiny_model_dir, "adapter:lora", "addon:takes", plugins=plugins), StartingWeights)


def test_weights_beside_the_adapter_that_train_are_kept_too(tiny_model_dir):
    run, model = begun(tiny_model_dir, "adapter:lora")
    model.base_model.model.model.norm.weight.requires_grad_(True)
    require_starting_point(run, model, StartingWeights)


def test_gradients_of_the_policy_are_none_of_the_references_business(tiny_model_dir):
    run, model = begun(tiny_model_dir, "adapter:full")
    reference = reference_for(run, model)
    expected = torch.autograd.grad(model(IDS).logits.logsumexp(-1).sum(), model.lm_head.weight)[0]
    loss = model(IDS).logits.logsumexp(-1).sum()
    with reference.active(model) as module:
        assert not module(IDS).logits.requires_grad
    loss.backward()
    assert torch.equal(model.lm_head.weight.grad, expected)


def test_the_policy_is_back_after_an_error_too(tiny_model_dir):
    run, model = begun(tiny_model_dir, "adapter:full")
    reference = reference_for(run, model)
    trained = logits_of(changed(model))
    with pytest.raises(KeyError), reference.active(model):
        raise KeyError
    assert model.training and torch.equal(logits_of(model), trained)


@pytest.mark.parametrize("other", [False, True])
def test_mixed_precision_is_the_references_too_and_leaves_nothing_behind(tiny_model_dir, other):
    keys = {"bf16": True, "model_dtype": "float32"} | ({"ref_model": str(tiny_model_dir)} if other else {})
    run, model = begun(tiny_model_dir, "adapter:full", *[ADDON] * other, **keys)
    reference = reference_for(run, model)
    with torch.autocast("cpu", torch.bfloat16):
        before = logits_of(model)
        with reference.active(model) as module:
            assert torch.equal(module(IDS).logits, before)
        changed(model)
        assert not torch.equal(model(IDS).logits, before)
    if other:
        with reference.active(model) as module:
            assert torch.equal(module(IDS).logits, before)


class Wrapper(nn.Module):
    """Like what several processes need around a model."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


def test_a_wrapped_policy_is_the_same_policy(tiny_model_dir):
    run, model = begun(tiny_model_dir, "adapter:lora")
    reference = reference_for(run, model)
    changed(model)
    with reference.active(Wrapper(model)) as module:
        torch.testing.assert_close(module(IDS).logits, tiny_llama()(IDS).logits, rtol=0, atol=0)


def test_a_policy_that_was_split_is_refused(tiny_model_dir):
    run, model = begun(tiny_model_dir, "adapter:full")
    reference = reference_for(run, model)
    model.lm_head.weight = nn.Parameter(model.lm_head.weight[:4])
    with pytest.raises(RunError, match="split between processes.*\n.*set ref_model"), reference.active(model):
        pass


@pytest.fixture(scope="module")
def other_dir(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("other"), seed=5)


def test_another_model_can_be_the_reference(tiny_model_dir, other_dir):
    run, model = begun(tiny_model_dir, "adapter:full", ADDON, ref_model=str(other_dir))
    reference = reference_for(run, changed(model))
    assert type(reference) is SeparateModel
    with reference.active(model) as module:
        assert torch.equal(module(IDS).logits, logits_of(tiny_llama(seed=5)))
    assert not any(p.requires_grad for p in module.parameters())


@pytest.mark.parametrize("names", [1, 2])
def test_the_reference_can_have_adapters(tiny_model_dir, adapter_dir, names):
    adapters = ",".join([str(adapter_dir)] * names)
    run, model = begun(tiny_model_dir, "adapter:full", ADDON, ref_model_adapters=adapters)
    _, expected = begun(tiny_model_dir, "adapter:lora", adapter_name_or_path=adapters)
    with reference_for(run, model).active(model) as module:
        assert torch.equal(module(IDS).logits, logits_of(expected.eval()))
    assert not any(p.requires_grad for p in module.parameters())


def test_a_reference_of_another_vocabulary_is_refused(tiny_model_dir, tmp_path):
    tiny_llama().save_pretrained(tmp_path)
    tiny_tokenizer(extra_tokens=("<new>",)).save_pretrained(tmp_path)
    run, model = begun(tiny_model_dir, "adapter:full", ADDON, ref_model=str(tmp_path))
    with pytest.raises(RunError, match=r"another vocabulary than the policy: \d+ of \d+ tokens differ"):
        reference_for(run, model)


def test_without_a_tokenizer_the_sizes_tell(tiny_model_dir, tmp_path):
    tiny_llama(vocab_size=600).save_pretrained(tmp_path / "larger")
    shutil.copy(tiny_model_dir / "config.json", tmp_path)
    run, model = begun(tiny_model_dir, "adapter:full", ADDON, ref_model=str(tmp_path / "larger"))
    with pytest.raises(RunError, match="has embeddings for 600 tokens, the policy for 512"):
        reference_for(run, model)


def test_embeddings_with_more_padding_are_no_other_vocabulary(tiny_model_dir, tmp_path):
    tiny_llama(vocab_size=600).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    run, model = begun(tiny_model_dir, "adapter:full", ADDON, ref_model=str(tmp_path))
    assert type(reference_for(run, model)) is SeparateModel


def test_a_reference_that_is_not_there_is_an_error_that_names_it(tiny_model_dir):
    run, model = begun(tiny_model_dir, "adapter:full", ADDON, ref_model="./nowhere")
    with pytest.raises(RunError, match="no folder './nowhere'"):
        reference_for(run, model)


@pytest.mark.parametrize("keys", [{"ref_model": "x"}, {"ref_model_adapters": "x"}, {"ref_model_quantization_bit": 8}])
def test_each_key_brings_it_in(keys):
    assert ADDON in make_plan(keys)


def test_three_bits_are_refused():
    with pytest.raises(ConfigError, match="ref_model_quantization_bit=3 is neither 4 nor 8"):
        make_plan({"ref_model_quantization_bit": 3})


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is absent")
@pytest.mark.parametrize("bits", [4, 8])
def test_the_reference_is_loaded_in_few_bits_and_the_policy_is_not(tmp_path, bits):
    tiny_llama(hidden=64).save_pretrained(tmp_path)  # bitsandbytes' blocks have 64 values
    tiny_tokenizer().save_pretrained(tmp_path)
    run, model = begun(tmp_path, "adapter:full", ADDON, ref_model_quantization_bit=bits)
    with reference_for(run, model).active(model) as module:
        logits = module(IDS).logits
    assert module.is_quantized and not getattr(model, "is_quantized", False)
    gap = (logits - logits_of(model)).abs().max() / logits_of(model).abs().max()
    assert 0 < gap < 0.5
