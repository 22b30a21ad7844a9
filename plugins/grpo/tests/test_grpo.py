import json
import math

import pytest
import torch
from safetensors.torch import load_file

from ft_plugin_grpo import plugin
from ft_plugin_grpo.losses import LOSSES
from ftk.contracts import Example
from ftk.problems import ConfigError, RunError
from ftk_sdk.contracts import PluginContract, StageContract
from ftk_sdk.fakes import installed_with
from ftk_sdk.fakes import plugin as fake
from ftk_sdk.testing import make_plan

from .stage_of_groups import KEYS, LOSS_ON


class TestPlugin(PluginContract):
    plugin = plugin


class TestStage(StageContract):
    component = "stage:grpo"
    keys = KEYS | {"grpo_mask_truncated": False}
    example = Example(messages=[{"role": "user", "content": "hello"}, {"role": "assistant", "content": "fox"}])
    loss_on = LOSS_ON


def log(folder) -> list[dict]:
    lines = map(json.loads, (folder / "trainer_log.jsonl").read_text().splitlines())
    return [line for line in lines if "loss" in line]


def weights(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_do_not_depend_on_how_completions_are_cut_into_micro_batches(bench, loss):
    keys = {"grpo_loss": loss, "grpo_beta": 0.2, "optim": "sgd", "learning_rate": 0.5, "grpo_num_iterations": 2}
    keys |= {"grpo_epsilon": 0.02, "max_steps": 4}
    whole = weights(bench(**keys, per_device_train_batch_size=4, grpo_micro_batch_size=16))
    for cut in (
        {"per_device_train_batch_size": 4, "grpo_micro_batch_size": 3},
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
        {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4, "grpo_micro_batch_size": 16},
    ):
        other = weights(bench(**keys, **cut))
        for name, weight in whole.items():
            # Norms are in float32, through which gradients of a shared prompt go together.
            torch.testing.assert_close(other[name], weight, rtol=0, atol=1e-7)


@pytest.mark.parametrize("evaluated", [{}, {"eval_strategy": "steps", "eval_steps": 2, "val_size": 2}])
def test_a_run_with_several_steps_for_each_batch_goes_on_as_if_never_stopped(bench, evaluated):
    keys = {"grpo_num_iterations": 3, "save_strategy": "steps", "save_steps": 2, "max_steps": 7, "grpo_beta": 0.1}
    keys |= evaluated
    whole = bench(**keys)
    for step in (2, 4, 6):  # in the middle of a batch of completions, between two, at the end of one
        stopped = bench(**keys)
        for later in (2, 4, 6, 7):
            if later > step:
                (stopped / f"checkpoint-{later}").rename(stopped / f"gone-{later}")
        bench(**keys, output_dir=str(stopped))
        assert [e["loss"] for e in log(stopped)] == [e["loss"] for e in log(whole)]
        for name, weight in weights(whole).items():
            assert torch.equal(weights(stopped)[name], weight)


def test_completions_that_were_cut_off_carry_no_loss_where_that_is_wanted(bench):
    entries = log(bench(grpo_mask_truncated=True, grpo_loss="dapo"))
    assert any(entry["truncated"] > 0 for entry in entries)
    assert not all(
        torch.equal(a, b)
        for a, b in zip(weights(bench(grpo_mask_truncated=True)).values(), weights(bench()).values(), strict=True)
    )


def test_the_log_tells_what_the_rewards_were(bench):
    folder = bench()
    (first, *_) = log(folder)
    lines = [json.loads(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()]
    assert [line["current_steps"] for line in lines] == [1] * 8 + [2] * 8 + [3] * 8
    rewards = [line["reward"] for line in lines[:8]]
    assert first["reward"] == pytest.approx(sum(rewards) / 8)
    assert rewards == bench.score([line["completion"] for line in lines[:8]])
    assert sum(line["advantage"] for line in lines[:4]) == pytest.approx(0, abs=1e-9)
    assert {"reward_std", "reward_equal", "completion_length", "truncated", "entropy", "clipped"} <= first.keys()


def test_equal_rewards_teach_nothing_and_are_counted(bench, tmp_path):
    (tmp_path / "same.py").write_text("def score(completions, **_): return [0.5] * len(completions)")
    folder = bench(reward_funcs=[f"{tmp_path}/same.py:score"])
    assert [entry["reward_equal"] for entry in log(folder)] == [1, 1, 1]
    before = load_file(tmp_path / "model" / "model.safetensors")
    assert all(torch.equal(before[name], weight) for name, weight in weights(folder).items())


@pytest.mark.parametrize("value", ["None", "float('nan')"])
def test_completions_without_a_reward_carry_no_loss_and_the_others_do(bench, tmp_path, value):
    code = "calls = 0\ndef score(completions, **_):\n    global calls\n    calls += 1\n"
    code += f"    numbers = [float(i % 3) for i in range(len(completions))]\n    numbers[0] = {value}\n"
    code += f"    return [{value}] * len(completions) if calls == 2 else numbers\n"
    (tmp_path / "holes.py").write_text(code)
    entries = log(bench(reward_funcs=[f"{tmp_path}/holes.py:score"]))
    assert entries[0]["reward"] == pytest.approx(sum(i % 3 for i in range(1, 8)) / 7)
    assert "reward" not in entries[1] and entries[1]["loss"] == 0
    assert entries[1]["reward_failed"] == (0 if value == "None" else 1)
    assert math.isfinite(entries[2]["grad_norm"])


def test_evaluation_scores_completions_of_the_other_prompts(bench):
    folder = bench(eval_dataset=str(bench.folder / "rows.json"), eval_strategy="steps", eval_steps=3)
    lines = map(json.loads, (folder / "trainer_log.jsonl").read_text().splitlines())
    (evaluation,) = [line for line in lines if "eval_reward" in line]
    assert 0 < evaluation["eval_reward"] < 17 / 7


def test_a_loss_and_an_advantage_of_another_package_are_chosen_by_name(bench):
    from ft_plugin_grpo.losses import PolicyLoss
    from ftk.markers import hookimpl

    class Others:
        @hookimpl
        def ftk_advantages(self):
            return {"sign": lambda rewards_PG: (rewards_PG - rewards_PG.mean(-1, keepdim=True)).sign()}

        @hookimpl
        def ftk_policy_losses(self):
            return {"plain": PolicyLoss(lambda new_N, old_N, a_N, row_N, **_: (-new_N * a_N, a_N * 0), per="token")}

    class Advantage(Others):
        ftk_policy_losses = None

    class Loss(Others):
        ftk_advantages = None

    offers = {"advantage:sign": Advantage, "policy-loss:plain": Loss}
    entry = fake("signs", offers=offers, requires=["ftk-kernel>=0.1", "ft-plugin-grpo"])
    # As if the package were installed beside the canned one of the workbench.
    others = [p.entry_point for p in bench.plugins.plugins if p.dist == "ft-plugin-canned"]
    found = installed_with(entry, *others)
    folder = bench(found=found, grpo_loss="plain", grpo_advantage="sign")
    lines = [json.loads(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()]
    assert {line["advantage"] for line in lines} <= {-1, 0, 1}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"grpo_num_generate_samples": 1}, "nothing to compare"),
        ({"grpo_beta": -0.1}, "grpo_beta=-0.1 is negative"),
        ({"grpo_epsilon": 2.0}, "not between 0 and 1"),
        ({"grpo_epsilon_high": -1.0}, "is negative"),
        ({"grpo_num_iterations": 0}, "must be at least 1"),
        ({"grpo_micro_batch_size": 0}, "is not positive"),
        ({"do_sample": False}, "teach nothing"),
        ({"grpo_num_iterations": 2, "streaming": True, "max_steps": 4}, "drawn again"),
        ({"grpo_loss": "dapoo"}, "did you mean 'dapo'"),
        ({"grpo_advantage": "groups"}, "did you mean 'group'"),
        ({"reward_funcs": None}, "no reward is named"),
        ({"top_p": 0.9}, "other probabilities than those that are trained"),
    ],
)
def test_bad_keys_are_told_of_while_planning(tiny_model_dir, keys, message):
    keys = {"stage": "grpo", "model_name_or_path": str(tiny_model_dir), "reward_funcs": ["length"], **keys}
    try:
        problems = make_plan(keys).problems
    except ConfigError as e:
        problems = e.problems
    assert any(message in str(problem) for problem in problems), problems


def test_data_without_questions_is_told_of(bench, tmp_path):
    (tmp_path / "rows.json").write_text(json.dumps([{"messages": [{"role": "assistant", "content": "fox"}]}] * 4))
    with pytest.raises(RunError, match="no prompt: there is no turn of the user before the answer"):
        bench()


def test_prompts_too_few_for_several_steps_each_are_told_of(bench):
    with pytest.raises(RunError, match="8 prompts are fewer than a step takes"):
        bench(grpo_num_iterations=2, per_device_train_batch_size=16)


def test_a_checkpoint_without_its_completions_is_told_of(bench):
    keys = {"grpo_num_iterations": 2, "save_strategy": "steps", "save_steps": 3}
    folder = bench(**keys)
    (kept,) = [p for p in (folder / "checkpoint-3").glob("*.safetensors") if p.name != "model.safetensors"]
    kept.unlink()
    with pytest.raises(RunError, match="the checkpoint holds no completions to go on with"):
        bench(**keys, output_dir=str(folder), max_steps=4)


def test_the_probabilities_that_are_trained_are_those_that_were_drawn_from(bench):
    one, other = log(bench(temperature=1.0))[0], log(bench(temperature=0.5))[0]
    assert other["entropy"] != one["entropy"]
