import json

import pytest
import torch

from ft_plugin_dpo import plugin
from ft_plugin_preference.losses import PreferenceLoss
from ftk.contracts import Example
from ftk.execute import start
from ftk.markers import hookimpl
from ftk.problems import ConfigError
from ftk_sdk import fakes
from ftk_sdk.contracts import PluginContract, StageContract
from ftk_sdk.testing import make_plan, make_run
from ftk_sdk.tiny import write_tiny_model

from ...preference.tests.pair_stage import ANSWERS, LOSS_ON, ROWS


class TestPlugin(PluginContract):
    plugin = plugin


PROMPT = [{"role": "user", "content": "hello"}]


class TestStage(StageContract):
    component = "stage:dpo"
    keys = {"template": "chatml"}
    rows, loss_on = ROWS, LOSS_ON
    example = Example(messages=[*PROMPT, {"role": "assistant", "content": "what"}, *PROMPT], **ANSWERS)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"pref_loss": "sigmod"}, "no plugin offers preference-loss:sigmod .*\n.*did you mean 'sigmoid'"),
        ({"pref_loss": "hinge,hinge"}, "pref_loss names a loss twice: hinge, hinge"),
        ({"pref_loss": "sigmoid,sft", "pref_loss_weights": [1.0]}, "pref_loss_weights has 1 numbers for 2 losses"),
        ({"pref_loss": "hinge", "dpo_label_smoothing": 0.1}, "dpo_label_smoothing=0.1 has no effect on hinge"),
        ({"pref_loss": "exo_pair"}, "dpo_label_smoothing=0 makes impossible"),
        ({"pref_loss": "aot", "pref_dropout": True}, "aot wants the same log-probabilities twice"),
        ({"pref_bco_weight": 0.1, "pref_dropout": True}, "pref_bco_weight wants the same"),
    ],
)
def test_what_cannot_be_meant_is_refused(keys, message):
    with pytest.raises(ConfigError, match=message):
        make_plan({"stage": "dpo", **keys})


def test_losses_come_into_a_plan_by_their_names_and_only_for_this_stage():
    plan = make_plan({"stage": "dpo", "pref_loss": "sigmoid,orpo"})
    assert [c.name for c in plan.of_kind("preference-loss")] == ["orpo", "sigmoid"]
    assert not make_plan({"pref_loss": "sigmoid"}).of_kind("preference-loss")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("dpo")
    write_tiny_model(made / "model", dtype=torch.float64)
    (made / "rows.json").write_text(json.dumps(TestStage.rows))
    return made


def losses_of(folder, out, *, plugins=None, **keys) -> list[float]:
    settled = {
        "stage": "dpo",
        "finetuning_type": "full",
        "model_name_or_path": str(folder / "model"),
        "model_dtype": "float64",
        "dataset": str(folder / "rows.json"),
        "output_dir": str(out),
        "per_device_train_batch_size": 4,
        "max_steps": 3,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_strategy": "no",
    }
    start(make_run({**settled, **keys}, plugins=plugins))
    return [json.loads(line)["loss"] for line in (out / "trainer_log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["orpo", "simpo"])
def test_llama_factorys_values_of_pref_loss_are_the_stages_of_that_name(folder, tmp_path, name):
    as_value = losses_of(folder, tmp_path / "value", pref_loss=name, pref_beta=0.5)
    as_stage = losses_of(folder, tmp_path / "stage", stage=name, pref_beta=0.5)
    assert as_value == as_stage and as_value[-1] < as_value[0]


@pytest.mark.parametrize("name", ["aot", "aot_unpaired", "kto_pair", "sigmoid"])
def test_losses_that_couple_pairs_do_not_depend_on_how_a_batch_is_cut(folder, tmp_path, name):
    keys = {"pref_loss": name, "pref_bco_weight": 0.3}
    whole = losses_of(folder, tmp_path / "whole", **keys)
    cut = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}
    assert losses_of(folder, tmp_path / "cut", **keys, **cut) == pytest.approx(whole, rel=0, abs=1e-9)


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_in_mixed_precision_a_policy_still_begins_as_its_reference(folder, tmp_path, kind):
    keys = {"finetuning_type": kind, "bf16": True, "model_dtype": "auto"}
    start_of_itself = losses_of(folder, tmp_path / "itself", **keys)
    loaded_again = losses_of(folder, tmp_path / "again", ref_model=str(folder / "model"), **keys)
    assert start_of_itself == loaded_again
    assert start_of_itself[0] == pytest.approx(0.6931471805599453, abs=1e-7)


class Half:
    @hookimpl
    def ftk_preference_losses(self):
        return {"half": PreferenceLoss(lambda pairs: torch.relu(0.5 - pairs.margin_B))}


def test_a_plugin_can_bring_a_loss_through_ftk_preference_losses(folder, tmp_path):
    stranger = fakes.plugin("half", offers={"preference-loss:half": Half}, fields={"requires": ("stage:dpo",)})
    plugins = fakes.installed_with(stranger)
    weights = {"pref_loss": "half,sigmoid", "pref_loss_weights": [2.0, 1.0]}
    losses = losses_of(folder, tmp_path / "out", plugins=plugins, **weights)
    assert losses[0] == pytest.approx(1 + 0.6931471805599453, abs=1e-9) and losses[-1] < losses[0]
