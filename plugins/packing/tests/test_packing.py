"""The component in real plans and runs."""

import json
import logging

import pytest
import torch
from torch import nn

from ft_plugin_packing import plugin
from ftk.execute import start
from ftk.markers import hookimpl
from ftk.problems import ConfigError, RunError
from ftk_sdk.contracts import AddonContract, PluginContract
from ftk_sdk.fakes import installed_with
from ftk_sdk.fakes import plugin as fake_plugin
from ftk_sdk.testing import make_plan, make_run

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
ROWS = [{"instruction": f"Count to {n}", "input": "", "output": " ".join(WORDS[: n % 7 + 1])} for n in range(1, 25)]
TEXTS = [{"text": " ".join(WORDS[: n % 11 + 1] * 2)} for n in range(24)]


class TestPlugin(PluginContract):
    plugin = plugin


class TestAddon(AddonContract):
    component = "addon:packing"
    keys = {"packing": True}


class TestOtherName(AddonContract):
    component = "addon:packing"
    keys = {"neat_packing": True}


@pytest.fixture
def keys(tiny_model_dir, tmp_path):
    """A run on all rows in each step, so that the loss must not depend on how they are packed."""
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS))
    return {
        "model_name_or_path": str(tiny_model_dir),
        "model_dtype": "float64",
        "finetuning_type": "full",
        "dataset": str(tmp_path / "rows.json"),
        "cutoff_len": 96,
        "output_dir": str(tmp_path / "out"),
        "per_device_train_batch_size": 64,
        "max_steps": 4,
        "logging_steps": 1,
        "learning_rate": 1e-2,
        "save_strategy": "no",
    }


def losses(keys, **more):
    """Of every step of a run, and its log."""
    folder = f"{keys['output_dir']}-{len(more)}-{hash(str(more))}"
    run = make_run({**keys, **more, "output_dir": folder})
    start(run)
    state = json.loads((run.output_dir / "trainer_state.json").read_text())
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"finetuning_type": "lora", "lora_rank": 4},
        {"finetuning_type": "freeze", "freeze_trainable_layers": 1},
        {"activation_checkpointing": True},
        {"train_on_prompt": True},
    ],
    ids=lambda more: "-".join(more) or "full",
)
def test_a_packed_run_has_the_losses_of_the_same_rows_unpacked(keys, more, caplog):
    caplog.set_level(logging.INFO, logger="ftk")
    plain = losses(keys, **more)
    assert losses(keys, **more, packing=True) == pytest.approx(plain, rel=0, abs=1e-9)
    assert plain[0] > plain[-1]
    assert "packing: 24 documents in " in caplog.text
    assert "packing: changing a document changes no logit and no gradient of another in this model" in caplog.text


@pytest.mark.parametrize(("batch", "accumulation"), [(2, 1), (1, 2)])
def test_micro_batches_of_packed_rows_make_no_difference(keys, batch, accumulation):
    sizes = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation}
    together = losses(keys, packing=True, per_device_train_batch_size=2)
    assert losses(keys, packing=True, **sizes) == pytest.approx(together, rel=0, abs=1e-9)


def test_pretraining_packs_too(keys, tmp_path):
    texts = {"stage": "pt", "dataset": str(tmp_path / "texts.json"), "cutoff_len": 32}
    assert losses(keys, **texts, neat_packing=True) == pytest.approx(losses(keys, **texts), rel=0, abs=1e-9)


def test_concatenated_texts_see_each_other_and_train(keys, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="ftk")
    texts = {"stage": "pt", "dataset": str(tmp_path / "texts.json"), "cutoff_len": 32}
    found = losses(keys, **texts, packing=True, packing_mode="concatenated")
    assert found[0] > found[-1] and found != losses(keys, **texts)
    assert "packing: 40 documents one after the other in " in caplog.text
    assert "changes no logit" not in caplog.text


def test_a_stream_is_packed(keys):
    found = losses(keys, packing=True, streaming=True, buffer_size=8, per_device_train_batch_size=2)
    assert len(found) == 4 and all(loss > 0 for loss in found)


def test_evaluation_data_stays_as_it_is(keys):
    run = make_run({**keys, "packing": True, "val_size": 4})
    tokenizer = run.load_tokenizer()
    encoder = run.encoder(tokenizer, run.load_template(tokenizer))
    assert len(run.load_dataset("train", encoder)) < 20
    rows = run.load_dataset("eval", encoder)
    assert len(rows) == 4
    assert "attention_mask" in encoder.collate([rows[0], rows[1]])


def test_a_reference_model_is_isolated_too(keys):
    run = make_run({**keys, "packing": True})
    policy = run.adapt_model(run.load_model())
    reference = run.load_model("reference")
    ids = torch.arange(24).view(2, 12) + 30
    positions = torch.arange(12).remainder(5).expand(2, 12)
    batch = {"input_ids": ids, "position_ids": positions}
    changed = {**batch, "input_ids": torch.where(torch.arange(12) < 5, ids + 1, ids)}
    for model in (policy.eval(), reference.eval()):
        one, other = model(**batch).logits, model(**changed).logits
        assert torch.equal(one[:, 5:], other[:, 5:]) and not torch.equal(one[:, :5], other[:, :5])


def test_packed_runs_resume_as_if_never_stopped(keys, tmp_path):
    more = {"packing": True, "per_device_train_batch_size": 1, "save_strategy": "steps", "save_steps": 2}
    straight = {**keys, **more, "output_dir": str(tmp_path / "straight"), "save_only_model": False}
    start(make_run(straight))
    (tmp_path / "straight/checkpoint-2").rename(tmp_path / "kept")
    resumed = {**straight, "output_dir": str(tmp_path / "resumed"), "resume_from_checkpoint": str(tmp_path / "kept")}
    start(make_run(resumed))
    logs = [
        json.loads((tmp_path / name / "trainer_state.json").read_text())["log_history"]
        for name in ("straight", "resumed")
    ]
    one, other = ([entry["loss"] for entry in log if "loss" in entry] for log in logs)
    assert one == other and len(one) == 4


class Smear(nn.Module):
    """Adds a little of the token before."""

    def forward(self, x):
        return x + 0.1 * nn.functional.pad(x, (0, 0, 1, 0))[:, :-1]


class Smearing:
    @hookimpl(wrapper=True)
    def ftk_load_model(self, run):
        model = yield
        model.model.layers[1].mlp = nn.Sequential(model.model.layers[1].mlp, Smear().to(model.dtype))
        return model


def test_a_model_that_lets_documents_leak_stops_the_run_before_its_first_step(keys):
    select = {"ftk_select": lambda config: ["addon:smearing"]}
    plugins = installed_with(fake_plugin("smearing", offers={"addon:smearing": Smearing}, hooks=select))
    run = make_run({**keys, "packing": True}, plugins=plugins)
    with pytest.raises(RunError, match=r"not isolated: model\.layers\.1\.mlp\.1 \(Smear\) lets one influence another"):
        start(run)
    assert not (run.output_dir / "model.safetensors").exists()


@pytest.mark.parametrize("keys_of_user", [{}, {"packing": False}, {"packing": None}, {"stage": "pt"}])
def test_what_is_not_asked_for_is_not_packed(keys_of_user):
    plan = make_plan(keys_of_user)
    assert "addon:packing" not in plan
    assert not [p for p in plan.problems if "packing" in str(p)]


@pytest.mark.parametrize(
    ("keys_of_user", "message"),
    [
        ({"packing": False, "neat_packing": True}, "packing: false and neat_packing: true contradict each other"),
        (
            {"packing": True, "packing_mode": "concatenated"},
            "packing_mode: 'concatenated' lets documents see each other, which stage 'sft' must not",
        ),
        (
            {"neat_packing": True, "packing_mode": "concatenated", "stage": "pt"},
            "neat_packing isolates documents, and packing_mode: 'concatenated' does not",
        ),
    ],
)
def test_what_packing_cannot_do_stops_the_plan(keys_of_user, message):
    with pytest.raises(ConfigError, match=message):
        make_plan(keys_of_user)


def test_a_key_that_only_says_how_warns_where_nothing_is_packed():
    plan = make_plan({"packing_mode": "concatenated", "stage": "pt"})
    assert "'packing_mode' has no effect" in "\n".join(map(str, plan.problems))


def test_a_key_of_llama_factory_without_effect_is_translated_away():
    plan = make_plan({"block_diag_attn": True, "neat_packing": True})
    assert "'block_diag_attn' is decided by 'packing'" in "\n".join(map(str, plan.problems))


def test_a_stage_whose_rows_do_not_predict_the_next_token_is_refused():
    class Pairs:
        @hookimpl
        def ftk_encoder(self, run, tokenizer, template):
            return type("PairEncoder", (), {"collate": staticmethod(torch.stack)})()

    plugins = installed_with(fake_plugin("pairs", offers={"stage:pairs": Pairs}))
    run = make_run({"packing": True}, components=["stage:pairs", "addon:packing"], plugins=plugins)
    with pytest.raises(RunError, match="those of PairEncoder are others"):
        run.encoder(None, None)
