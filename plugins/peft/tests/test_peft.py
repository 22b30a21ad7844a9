import logging

import peft
import pytest
import torch
from peft import PeftModel

from ft_plugin_peft import plugin
from ft_plugin_peft.adapters import load_adapter
from ft_plugin_peft.checks import is_local
from ft_plugin_peft.merging import merged
from ftk.problems import RunError
from ftk_sdk.contracts import PluginContract
from ftk_sdk.testing import make_plan, make_run
from ftk_sdk.tiny import tiny_llama

IDS = torch.arange(24).view(2, 12) * 7 % 512


class TestPlugin(PluginContract):
    plugin = plugin


def write_adapter(folder, seed: int, *, base=None, scale: float = 0.3, **config):
    """An adapter with random weights, written by plain peft."""
    options = {"r": 4, "target_modules": ["q_proj", "up_proj"], "task_type": "CAUSAL_LM", **config}
    model = peft.get_peft_model(tiny_llama() if base is None else base, peft.LoraConfig(**options))
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += scale * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def three(tmp_path):
    return [write_adapter(tmp_path / name, seed) for seed, name in enumerate(("a", "b", "c"))]


def summed(names, base=None) -> torch.Tensor:
    """Logits with all adapters, by plain addition of their updates to the weights."""
    model = tiny_llama() if base is None else base
    for name in names:
        weights = peft.load_peft_weights(name)
        for key in [k for k in weights if "lora_A" in k]:
            weight = model.get_parameter(key.removeprefix("base_model.model.").replace("lora_A.weight", "weight"))
            weight.data += 8 / 4 * weights[key.replace("lora_A", "lora_B")] @ weights[key]
    return model(IDS).logits


def adapted(names, action="train", **keys):
    keys = {"adapter_name_or_path": names, **keys}
    return make_run(keys, components=["adapter:lora"], action=action).adapt_model(tiny_llama())


@pytest.mark.parametrize("action", ["train", "chat", "export"])
def test_all_but_the_last_are_merged_and_the_last_stays(three, action):
    model = adapted(three, action)
    assert isinstance(model, PeftModel)
    assert any(p.requires_grad for p in model.parameters()) == (action == "train")
    torch.testing.assert_close(model(IDS).logits, summed(three), rtol=1e-4, atol=1e-4)
    with model.disable_adapter():
        torch.testing.assert_close(model(IDS).logits, summed(three[:2]), rtol=1e-4, atol=1e-4)


def test_a_new_adapter_starts_on_all_of_them_merged(three):
    model = adapted(three, create_new_adapter=True, lora_rank=2)
    assert model.peft_config["default"].r == 2
    torch.testing.assert_close(model(IDS).logits, summed(three), rtol=1e-4, atol=1e-4)


def test_names_are_split_at_commas(three):
    model = adapted(",".join(three), "chat")
    torch.testing.assert_close(model(IDS).logits, summed(three), rtol=1e-4, atol=1e-4)


def test_an_adapter_may_lie_in_a_folder_of_its_place(tmp_path):
    name = write_adapter(tmp_path / "deep" / "inner", 0)
    model = adapted(str(tmp_path / "deep"), "chat", adapter_folder="inner")
    torch.testing.assert_close(model(IDS).logits, summed([name]), rtol=1e-4, atol=1e-4)


def test_chat_uses_the_runs_own_result_and_says_so(tmp_path, caplog):
    name = write_adapter(tmp_path, 0)
    with caplog.at_level(logging.INFO, logger="ftk"):
        model = adapted(None, "chat", output_dir=name)
    torch.testing.assert_close(model(IDS).logits, summed([name]), rtol=1e-4, atol=1e-4)
    assert f"adapter: {name}" in caplog.messages


def test_training_does_not_start_from_what_lies_in_output_dir(tmp_path):
    name = write_adapter(tmp_path, 0)
    model = adapted(None, "train", output_dir=name)
    assert torch.equal(model(IDS).logits, tiny_llama()(IDS).logits)


def test_chat_without_any_adapter_is_the_base_model_with_a_warning(tmp_path, caplog):
    model = adapted(None, "chat", output_dir=str(tmp_path))
    assert not isinstance(model, PeftModel)
    assert "holds no trained adapter" in caplog.text


def test_merging_into_half_precision_rounds_once(tmp_path):
    base = tiny_llama(dtype=torch.bfloat16)
    # Updates far below the resolution of bfloat16 for most weights: merged in bfloat16 they would round to other values.
    name = write_adapter(tmp_path, 0, scale=0.02)
    run = make_run({}, components=["adapter:lora"], action="chat")
    plain = merged(load_adapter(run, base, name))
    exact = tiny_llama(dtype=torch.bfloat16).float()
    summed([name], exact)
    for (key, merged_weight), exact_weight in zip(plain.named_parameters(), exact.parameters(), strict=True):
        assert torch.equal(merged_weight, exact_weight.bfloat16()), key


def test_merging_can_give_another_type_without_rounding_in_between(tmp_path):
    run = make_run({}, components=["adapter:lora"], action="chat")
    name = write_adapter(tmp_path, 0)
    plain = merged(load_adapter(run, tiny_llama(dtype=torch.bfloat16), name), dtype=torch.float32)
    exact = tiny_llama(dtype=torch.bfloat16).float()
    summed([name], exact)
    layer = "model.layers.0.self_attn.q_proj.weight"
    torch.testing.assert_close(plain.get_parameter(layer), exact.get_parameter(layer), rtol=0, atol=1e-7)


def test_an_update_of_a_tied_head_leaves_the_embeddings_alone(tmp_path):
    name = write_adapter(tmp_path / "a", 0, base=tiny_llama(tied=True), target_modules=["lm_head"])
    model = PeftModel.from_pretrained(tiny_llama(tied=True), name)
    before = model(IDS).logits
    plain = merged(model)
    torch.testing.assert_close(plain(IDS).logits, before, rtol=1e-4, atol=1e-4)
    plain.save_pretrained(tmp_path / "merged")
    again = type(plain).from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(again(IDS).logits, before, rtol=1e-4, atol=1e-4)


def test_an_adapter_with_nan_is_refused(tmp_path):
    name = write_adapter(tmp_path, 0, scale=float("nan"))
    with pytest.raises(RunError, match=r"cannot be merged into .*q_proj: NaNs"):
        merged(PeftModel.from_pretrained(tiny_llama(), name))


def test_an_adapter_that_has_no_weights_to_merge_is_refused():
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    with pytest.raises(RunError, match="type PROMPT_TUNING cannot be merged"):
        merged(peft.get_peft_model(tiny_llama(), config))


def test_an_adapter_of_another_model_is_refused(tmp_path):
    name = write_adapter(tmp_path, 0, base=tiny_llama(hidden=64))
    with pytest.raises(RunError, match="does not fit the model: .*size mismatch"):
        adapted([name], "chat")


def test_an_adapter_whose_weights_are_incomplete_is_refused(tmp_path):
    name = write_adapter(tmp_path, 0)
    config = peft.PeftConfig.from_pretrained(name)
    config.target_modules = ["q_proj", "up_proj", "k_proj"]
    config.save_pretrained(name)
    with pytest.raises(RunError, match="does not fit the model: Found missing adapter keys"):
        adapted([name], "chat")


def test_a_folder_without_an_adapter_is_missing_when_planned_and_an_error_when_run(tmp_path):
    keys = {"adapter_name_or_path": str(tmp_path)}
    (problem,) = make_plan(keys, components=["adapter:lora"]).problems
    assert problem.level == "missing" and "holds no adapter_config.json" in problem.message
    with pytest.raises(RunError, match=r"holds no adapter_config\.json"):
        adapted(str(tmp_path), "chat")


def test_a_damaged_adapter_config_is_an_error_with_its_place(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(RunError, match=f"cannot read the adapter '{tmp_path}'"):
        adapted(str(tmp_path), "chat")


def test_an_adapter_of_a_hub_that_cannot_be_reached_is_an_error(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(RunError, match="cannot read the adapter 'someone/some-adapter'"):
        adapted("someone/some-adapter", "chat")


@pytest.mark.parametrize(
    ("name", "local"), [("org/name", False), ("name", False), ("./a", True), ("/a", True), ("a/b/c", True)]
)
def test_paths_and_hub_ids_are_told_apart(name, local):
    assert is_local(name) is local
