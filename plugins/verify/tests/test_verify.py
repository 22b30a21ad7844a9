import json
import logging

import pytest
import torch
import yaml
from transformers import AutoConfig, LlamaConfig, LlamaForCausalLM, Qwen3MoeConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from ft_plugin_verify import plugin
from ft_plugin_verify.changes import exact, few_steps
from ft_plugin_verify.shrink import random_model
from ft_plugin_verify.sizes import shrunken
from ft_plugin_verify.smoke import smoke
from ft_plugin_verify.verify import Curve, _report, verify
from ftk.problems import ConfigError, RunError
from ftk_sdk.contracts import AddonContract, PluginContract
from ftk_sdk.testing import make_run
from ftk_sdk.tiny import tiny_tokenizer

ARCHITECTURES = ["llama", "qwen2", "qwen3_moe", "qwen3_next", "gemma2", "gemma3_text", "mixtral", "glm4", "gpt_oss"]


class TestPlugin(PluginContract):
    plugin = plugin


class TestAddon(AddonContract):
    component = "addon:shrink"
    keys = {"shrink_model": True, "shrink_dropout": False}
    beside = ("loader:hf",)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_small_model_has_the_architecture_the_vocabulary_and_every_kind_of_layer(name):
    config = AutoConfig.for_model(name, vocab_size=512, pad_token_id=0)
    config.architectures = [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[name]]
    small = shrunken(config, 32)
    assert small.vocab_size == 512 and small.hidden_size == 32 and small.num_hidden_layers < config.num_hidden_layers
    assert set(getattr(small, "layer_types", None) or ()) == set(getattr(config, "layer_types", None) or ())
    model = random_model(small)
    assert type(model).__name__ == config.architectures[0] and model.num_parameters() < 1e6


def test_a_mixture_of_experts_stays_one():
    small = shrunken(Qwen3MoeConfig(), 32)
    assert small.num_experts == 4 and small.num_experts_per_tok == 2


def test_a_small_config_stays_as_it_is():
    config = LlamaConfig(hidden_size=32)
    assert shrunken(config, 32) is config


def test_an_architecture_that_cannot_be_built_is_an_error_that_says_so():
    config = LlamaConfig(vocab_size=8, hidden_size=24, num_attention_heads=3, num_key_value_heads=2)
    with pytest.raises(RunError, match="type 'llama' cannot be shrunken"):
        random_model(config)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A model that is larger than what a trial makes of it."""
    folder = tmp_path_factory.mktemp("large")
    config = LlamaConfig(vocab_size=512, hidden_size=128, intermediate_size=256, num_hidden_layers=3)
    LlamaForCausalLM(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def config(large, tmp_path):
    """A config file for the large model, with more ``keys``."""

    def write(**keys):
        rows = [{"instruction": f"Say {n}", "input": "", "output": f"{n} " * (n % 7 + 1)} for n in range(20)]
        (tmp_path / "rows.json").write_text(json.dumps(rows))
        base = {"model_name_or_path": str(large), "dataset": str(tmp_path / "rows.json"), "stage": "sft"}
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(base | {"output_dir": str(tmp_path / "out")} | keys))
        return str(path)

    return write


def test_only_the_config_and_the_tokenizer_of_a_large_model_are_read(large, tmp_path):
    light = tmp_path / "light"
    light.mkdir()
    for file in large.iterdir():
        if file.suffix != ".safetensors":
            (light / file.name).write_bytes(file.read_bytes())
    run = make_run(
        {"model_name_or_path": str(light), "shrink_model": True, "output_dir": str(tmp_path / "out")}, action="chat"
    )
    model = run.load_model()
    assert model.config.hidden_size == 64 and model.config.num_hidden_layers == 2
    assert len(run.load_tokenizer()) == len(tiny_tokenizer())
    again = make_run(run.config.dump(), action="chat").load_model()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_smoke_runs_a_pipeline_and_its_export_beside_the_output_folder(config, tmp_path, capsys):
    smoke(config(export_dir=str(tmp_path / "merged"), finetuning_type="full"), steps=2)
    trial = tmp_path / "out-smoke"
    assert json.loads((trial / "checkpoint-2" / "trainer_state.json").read_text())["global_step"] == 2
    assert AutoConfig.from_pretrained(trial / "export").hidden_size == 64
    assert not (tmp_path / "out").exists() and not (tmp_path / "merged").exists()


def test_smoke_finds_what_is_wrong_with_the_config_itself(config):
    with pytest.raises(ConfigError, match=r"run\.yaml:\d+: error: unknown key 'lora_rnak'"):
        smoke(config(lora_rnak=4))


def test_keys_that_publish_or_do_not_fit_are_left_out():
    kept = few_steps({"push_to_hub": True, "adapter_name_or_path": "x", "lora_rank": 4, "max_samples": 10}, 3)
    assert "push_to_hub" not in kept and "adapter_name_or_path" not in kept
    assert kept["lora_rank"] == 4 and kept["max_samples"] == 10 and kept["report_to"] == "none"
    assert few_steps({"freeze_trainable_layers": -3}, 3)["freeze_trainable_layers"] == -1
    assert "bf16" not in exact({"bf16": True}, 8, 2048)


def test_verify_finds_one_curve(config, capsys):
    verify(config(lora_dropout=0.1, bf16=True, save_strategy="no", save_total_limit=1), rows=4, json=True)
    curves = json.loads(capsys.readouterr().out)
    assert {"one batch", "row by row", "interrupted after a step", "two processes", "packed"} <= curves.keys()
    first = curves["one batch"]["losses"]
    assert len(first) == 3 and first[0] != first[2]
    assert all(way["difference"] < 1e-9 for way in curves.values())
    assert logging.root.manager.disable == logging.NOTSET


def test_a_stage_that_learns_from_rewards_has_a_gradient_though_random_weights_earn_none(config, capsys):
    verify(config(stage="grpo", reward_funcs="exact_answer", max_new_tokens=4), rows=2, json=True)
    said = capsys.readouterr()
    assert all(norm > 0 for norm in json.loads(said.out)["row by row"]["gradients"])
    assert "added: a reward" in said.err and "two processes: left out" in said.err and "one curve" in said.err


def test_curves_that_differ_fail_by_name(capsys):
    with pytest.raises(RunError, match="not one curve: row by row"):
        curves = {"one batch": [1.0, 0.9], "packed": [1.0, 0.9], "row by row": [1.0, 0.9001]}
        _report({name: Curve(losses) for name, losses in curves.items()}, as_json=False)
    with pytest.raises(RunError, match="not one curve: packed"):
        _report({"one batch": Curve([1.0, 0.9]), "packed": Curve([1.0])}, as_json=False)
    with pytest.raises(RunError, match="not one curve: packed"):
        _report({"one batch": Curve([0.0], [1.0]), "packed": Curve([0.0], [1.1])}, as_json=False)
    _report({"one batch": Curve([0.0], [1.0]), "packed": Curve([0.0], [1.0 + 1e-8])}, as_json=False)


def test_a_flat_curve_is_said_to_show_little(capsys):
    _report({name: Curve([0.0, 0.0], [0.0, 0.0]) for name in ("one batch", "row by row")}, as_json=False)
    assert "warning: the loss is 0 in every step" in capsys.readouterr().err


def test_an_odd_number_of_rows_cannot_be_halved(config):
    with pytest.raises(ConfigError, match="--rows 3"):
        verify(config(), rows=3)
