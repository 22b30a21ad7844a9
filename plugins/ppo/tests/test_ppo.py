"""The stage: that it learns, that it resumes in the middle of a buffer, what it refuses."""

import json
import math
import shutil
from collections import Counter

import pytest
import torch
from safetensors.torch import load_file, save_file

from ft_plugin_ppo import objective, plugin
from ft_plugin_ppo.experience import Answer, packed, unpacked
from ftk.contracts import Example
from ftk.problems import ConfigError, RunError
from ftk_sdk.contracts import PluginContract, StageContract
from ftk_sdk.testing import make_plan
from ftk_sdk.tiny import tiny_tokenizer


class TestPlugin(PluginContract):
    plugin = plugin


class TestStage(StageContract):
    component = "stage:ppo"
    keys = {
        "template": "chatml",
        "reward_funcs": ["format"],
        "rewards_format": ".*[aeiou].*",
        "max_new_tokens": 6,
        "ppo_epochs": 3,  # the checkpoint after two steps is in the middle
        "ppo_score_norm": True,
    }
    example = Example(messages=[{"role": "user", "content": "hello"}, {"role": "assistant", "content": "fox"}])
    loss_on = {}


class TestStageWithABuffer(TestStage):
    keys = TestStage.keys | {"ppo_epochs": 2, "ppo_buffer_size": 2, "ppo_whiten_rewards": True, "ppo_score_norm": False}


def test_the_reward_rises(ppo):
    log = ppo(max_steps=80, learning_rate=1e-2, ppo_kl_coeff=0.001)
    first, last = log[0]["reward"], log[-1]["reward"]
    assert last > first + 0.3, f"it went from {first} to {last}"
    assert log[-1]["kl"] > 1


def test_the_penalty_keeps_it_near_the_reference(ppo):
    keys = dict(max_steps=40, learning_rate=5e-3, ppo_target=None)
    free = ppo(folder="free", **keys, ppo_kl_coeff=1e-9)
    kept = ppo(folder="kept", **keys, ppo_kl_coeff=1.0)
    assert kept[-1]["kl"] < 0.5 * free[-1]["kl"]


def test_the_coefficient_adapts_once_for_each_buffer(ppo):
    log = ppo(max_steps=9, ppo_epochs=3, ppo_kl_coeff=0.1, ppo_target=1000.0, ppo_kl_horizon=100)
    wanted = [0.1 * (1 - 0.2 * 8 / 100) ** (step // 3) for step in range(9)]
    assert [entry["kl_coeff"] for entry in log] == pytest.approx(wanted)


def test_each_answer_of_a_buffer_is_learnt_from_once_in_each_epoch(ppo, monkeypatch):
    seen = []
    original = objective.Ppo.sums

    def noting(self, model, batch):
        seen.append([tuple(row.tolist()) for row in batch["input_ids"]])
        return original(self, model, batch)

    monkeypatch.setattr(objective.Ppo, "sums", noting)
    ppo(max_steps=8, ppo_epochs=2, ppo_buffer_size=4, per_device_train_batch_size=1)
    pad = tiny_tokenizer().pad_token_id
    steps = [
        Counter(tuple(t for t in row if t != pad) for row in a + b) for a, b in zip(seen[::2], seen[1::2], strict=True)
    ]
    assert len(steps) == 8 and all(sum(step.values()) == 2 for step in steps)
    first, second = (sum(steps[at : at + 4], Counter()) for at in (0, 4))
    assert first == second and sum(first.values()) == 8
    assert steps[:4] != steps[4:]


def test_answers_without_a_score_are_counted_and_the_run_goes_on(ppo, tmp_path):
    log = ppo(max_steps=2, reward_funcs=[f"{tmp_path / 'scores.py'}:sometimes"])
    assert log[0]["reward_failed"] == 3 / 8 and math.isfinite(log[1]["loss"])


def test_a_run_whose_answers_get_no_score_stops(ppo, tmp_path):
    with pytest.raises(RunError, match="no answer of this step has been given a score"):
        ppo(max_steps=2, reward_funcs=[f"{tmp_path / 'scores.py'}:never"])


def test_fewer_prompts_than_a_buffer_takes_are_refused(ppo):
    with pytest.raises(RunError, match="8 prompts do not fill a buffer, which takes 16"):
        ppo(max_steps=2, ppo_buffer_size=2)


def test_an_epoch_is_one_pass_over_the_prompts(ppo):
    assert len(ppo(num_train_epochs=1, ppo_epochs=3, per_device_train_batch_size=2)) == 2 * 3


def test_it_evaluates_answers_to_other_prompts(ppo, tmp_path):
    ppo(max_steps=2, val_size=2, per_device_train_batch_size=2, eval_strategy="steps", eval_steps=2)
    metrics = json.loads((tmp_path / "out" / "trainer_log.jsonl").read_text().splitlines()[-1])
    assert metrics["eval_loss"] == pytest.approx(-metrics["eval_reward"])
    assert "eval_kl" in metrics


def test_a_value_head_beside_the_model_is_gone_on_with(ppo, tiny_model_dir, tmp_path):
    folder = shutil.copytree(tiny_model_dir, tmp_path / "earlier")
    head = {"v_head.summary.weight": torch.full((1, 32), 0.5), "v_head.summary.bias": torch.tensor([2.0])}
    save_file(head, folder / "value_head.safetensors")
    ppo(max_steps=1, learning_rate=0.0, model_name_or_path=str(folder))
    saved = load_file(tmp_path / "out" / "value_head.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in head.items())


def test_resuming_in_the_middle_of_a_buffer_after_an_evaluation_goes_on_with_its_answers(ppo, tmp_path):
    keys = dict(max_steps=6, ppo_epochs=4, save_strategy="steps", save_steps=2, eval_strategy="steps", eval_steps=2)
    keys |= dict(val_size=2, per_device_train_batch_size=2, learning_rate=1e-3)
    straight = ppo(folder="straight", **keys)
    shutil.copytree(tmp_path / "straight" / "checkpoint-2", tmp_path / "resumed" / "checkpoint-2")
    shutil.copy(tmp_path / "straight" / "plan.json", tmp_path / "resumed")
    resumed = ppo(folder="resumed", **keys)
    assert [entry["loss"] for entry in resumed] == [entry["loss"] for entry in straight][-len(resumed) :]
    for name in ("model", "value_head"):
        one, other = (load_file(tmp_path / run / f"{name}.safetensors") for run in ("straight", "resumed"))
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_answers_come_out_of_a_checkpoint_as_they_went_in():
    answers = [
        Answer([5, 6, 7, 8], 2, {"old": torch.tensor([0.1, 0.2])}, {"reward": 1.0}),
        Answer([5, 6, 9], 2, {"old": torch.tensor([0.3])}, {"reward": math.nan}),
    ]
    again = unpacked(packed(answers))
    assert [(a.ids, a.start) for a in again] == [(a.ids, a.start) for a in answers]
    assert all(torch.equal(a.tokens["old"], b.tokens["old"]) for a, b in zip(again, answers, strict=True))
    assert again[0].metrics == {"reward": 1.0} and math.isnan(again[1].metrics["reward"])
    assert packed([]) == {} and unpacked({}) == []


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"ppo_epochs": 0}, "ppo_epochs=0 must be at least 1"),
        ({"ppo_target": 0.0}, "ppo_target=0.0 must be above 0, or null"),
        ({"lam": 2.0}, "ppo_lam=2.0 is not between 0 and 1"),
        ({"clip_range": 0.0}, "ppo_clip_ratio=0.0 must be above 0"),
        ({"streaming": True}, "which streaming does not give"),
        ({"do_sample": False}, "tries nothing but what the policy does anyway"),
    ],
)
def test_values_that_cannot_be_are_refused(keys, message):
    with pytest.raises(ConfigError, match=message):
        make_plan(keys, components=["stage:ppo", "trainer:transformers", "addon:rollouts", "addon:rewards"])


def test_a_plan_without_any_reward_is_refused():
    with pytest.raises(ConfigError, match="no reward is named"):
        make_plan({"stage": "ppo", "model_name_or_path": "x", "dataset": "y"})
