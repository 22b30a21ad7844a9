"""From pairs to a reward model to a policy that it rewards, through the program, on tiny models."""

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoModelForSequenceClassification

from ftk.cli.main import main

METHODS = {
    "full": "finetuning_type: full\n",
    "freeze": "finetuning_type: freeze\nfreeze_trainable_layers: 1\n",
    "lora": "finetuning_type: lora\nlora_rank: 8\n",
    "dora": "finetuning_type: lora\nlora_rank: 8\nuse_dora: true\n",
}
WORDS = ("dog", "box", "wizard", "jug", "hello", "world", "name", "model")
PAIRS = [  # the better answer speaks of a fox
    {"instruction": f"say {a}", "chosen": f"{b} fox {a}", "rejected": f"{a} {b} over"} for a in WORDS for b in WORDS
]
PROMPTS = [{"instruction": f"say {word}"} for word in WORDS]
VOWELS = """
def score(*, completions, **columns):
    return [sum(c in "aeiou" for c in text) / max(len(text), 1) for text in completions]
"""
COMMON = "template: chatml\nlogging_steps: 1\nsave_strategy: 'no'\nlr_scheduler_type: constant\n"


def run(*words) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(w) for w in words])
    return stopped.value.code or 0


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model_dir) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_model_dir, tmp_path / "model")
    (tmp_path / "pairs.json").write_text(json.dumps(PAIRS))
    (tmp_path / "prompts.json").write_text(json.dumps(PROMPTS))
    (tmp_path / "vowels.py").write_text(VOWELS)
    (tmp_path / "rm.yaml").write_text(
        f"model_name_or_path: model\nstage: rm\ndataset: ./pairs.json\noutput_dir: rm\n{COMMON}"
        "max_steps: 20\nlearning_rate: 0.01\nper_device_train_batch_size: 8\nval_size: 16\ndo_train: true\ndo_eval: true\n"
    )
    (tmp_path / "ppo.yaml").write_text(
        f"model_name_or_path: model\nstage: ppo\ndataset: ./prompts.json\noutput_dir: ppo\n{COMMON}"
        "max_steps: 4\nlearning_rate: 0.01\nper_device_train_batch_size: 8\nmax_new_tokens: 8\nreward_model: rm\n"
    )
    return tmp_path


def use(path: Path, method: str, more: str = "") -> Path:
    path.write_text(path.read_text() + METHODS[method] + more)
    return path


def logged(folder: Path) -> list[dict]:
    lines = map(json.loads, (folder / "trainer_log.jsonl").read_text().splitlines())
    return [line for line in lines if "loss" in line]


@pytest.mark.parametrize("method", METHODS)
def test_a_reward_model_learns_with_each_method_and_its_judgement_trains_a_policy(here, method):
    assert run("run", use(here / "rm.yaml", method)) == 0
    results = json.loads((here / "rm" / "all_results.json").read_text())
    assert results["eval_accuracy"] > 0.9
    assert run("run", use(here / "ppo.yaml", "lora" if method in ("lora", "dora") else "full")) == 0
    log = logged(here / "ppo")
    assert len(log) == 4 and all(entry["reward_failed"] == 0 for entry in log)
    assert (here / "ppo" / "value_head.safetensors").is_file()
    said = [json.loads(line) for line in (here / "ppo" / "rollouts.jsonl").read_text().splitlines()]
    assert len({line["reward"] for line in said}) > 1
    assert run("chat", "ppo", "--prompt", "say fox", "max_new_tokens=4") == 0


def test_a_policy_comes_to_say_what_is_rewarded(here):
    more = "reward_funcs: vowels.py:score\nmax_steps: 80\nppo_kl_coeff: 0.001\n"
    text = (here / "ppo.yaml").read_text().replace("reward_model: rm\n", "").replace("max_steps: 4\n", "")
    (here / "ppo.yaml").write_text(text)
    assert run("run", use(here / "ppo.yaml", "full", more)) == 0
    rewards = [entry["reward"] for entry in logged(here / "ppo")]
    assert sum(rewards[-4:]) / 4 > sum(rewards[:4]) / 4 + 0.3


def test_the_exported_classifier_rewards_too(here):
    assert run("run", use(here / "rm.yaml", "lora")) == 0
    assert run("export", here / "rm.yaml", "rm_export_dir=served") == 0
    assert AutoModelForSequenceClassification.from_pretrained(here / "served").config.num_labels == 1
    assert run("run", use(here / "ppo.yaml", "lora"), "output_dir=one") == 0
    assert run("run", here / "ppo.yaml", "reward_model=served", "output_dir=two") == 0
    one, two = (logged(here / name)[0]["reward"] for name in ("one", "two"))
    assert one == pytest.approx(two, abs=1e-3)


def test_a_reward_model_is_trained_further_and_its_head_with_it(here):
    assert run("run", use(here / "rm.yaml", "full")) == 0
    assert (
        run("run", here / "rm.yaml", "model_name_or_path=rm", "output_dir=again", "max_steps=2", "learning_rate=0") == 0
    )
    first = json.loads((here / "rm" / "all_results.json").read_text())["eval_loss"]
    assert json.loads((here / "again" / "all_results.json").read_text())["eval_loss"] == pytest.approx(first, abs=1e-5)


def failing(capsys, *words) -> str:
    assert run(*words) in (1, 2)
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def test_pairs_of_equal_answers_are_named(here, capsys):
    (here / "pairs.json").write_text(json.dumps([row | {"rejected": row["chosen"]} for row in PAIRS]))
    assert "chosen and rejected are equal" in failing(capsys, "run", here / "rm.yaml")


def test_data_of_another_kind_is_named(here, capsys):
    (here / "pairs.json").write_text(json.dumps([{"instruction": "say fox", "output": "fox"}] * 8))
    said = failing(capsys, "run", here / "rm.yaml")
    assert "one answer, where this stage wants a chosen and a rejected answer" in said


def test_a_reward_model_that_is_not_there_is_named(here, capsys):
    said = failing(capsys, "run", here / "ppo.yaml", "reward_model=./nowhere")
    assert "reward_model: there is no './nowhere'" in said


def test_a_model_without_a_value_head_is_no_reward_model(here, capsys):
    said = failing(capsys, "run", here / "ppo.yaml", "reward_model=model")
    assert "'model' has no value head, and is no sequence classifier" in said


def test_a_server_that_is_down_is_named(here, capsys):
    said = failing(capsys, "run", here / "ppo.yaml", "reward_model=http://127.0.0.1:9/score", "reward_api_retries=0")
    assert "the reward server http://127.0.0.1:9/score does not answer" in said


def test_a_policy_without_any_reward_is_refused_before_anything_is_loaded(here, capsys):
    text = (here / "ppo.yaml").read_text().replace("reward_model: rm\n", "")
    (here / "ppo.yaml").write_text(text)
    assert "no reward is named" in failing(capsys, "plan", here / "ppo.yaml")
