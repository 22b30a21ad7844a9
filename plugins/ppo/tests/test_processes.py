"""Two processes, through the program: a reward model's curve is that of one, and PPO goes on as if never stopped."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch

from ftk_sdk.tiny import tiny_llama, tiny_tokenizer

WORDS = ("fox", "dog", "box", "jug", "name", "hello", "over", "five")
COMMON = {
    "model_name_or_path": "model",
    "model_dtype": "float64",
    "finetuning_type": "full",
    "template": "chatml",
    "logging_steps": 1,
    "learning_rate": 0.005,
    "lr_scheduler_type": "constant",
    "use_cpu": True,
}
PPO = {"stage": "ppo", "dataset": "./prompts.json", "reward_funcs": "scores.py:vowels", "max_new_tokens": 6}


@pytest.fixture
def train(tmp_path):
    """``train(processes, output_dir=..., ...)``: the log's losses."""
    tiny_llama(dtype=torch.float64, seed=3).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    pairs = [{"instruction": f"say {w}", "chosen": f"{w} {w}", "rejected": f"not {w}"} for w in WORDS]
    (tmp_path / "pairs.json").write_text(json.dumps(pairs))
    (tmp_path / "prompts.json").write_text(json.dumps([{"instruction": pair["instruction"]} for pair in pairs]))
    (tmp_path / "scores.py").write_text(
        "def vowels(*, completions, **columns):\n    return [sum(c in 'aeiou' for c in text) for text in completions]\n"
    )

    def run(processes, **keys):
        words = [f"{key}={value}" for key, value in (COMMON | keys).items()]
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        command = [sys.executable, *(launcher if processes > 1 else []), "-m", "ftk.cli.main", "run", *words]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        lines = map(json.loads, (tmp_path / keys["output_dir"] / "trainer_log.jsonl").read_text().splitlines())
        return [line["loss"] for line in lines if "loss" in line]

    return run


@pytest.mark.slow
def test_a_reward_model_learns_the_same_in_two_processes_as_in_one(train):
    keys = {"stage": "rm", "dataset": "./pairs.json", "max_steps": 3, "save_strategy": "no"}
    alone = train(1, output_dir="alone", per_device_train_batch_size=4, **keys)
    assert train(2, output_dir="two", per_device_train_batch_size=2, **keys) == pytest.approx(alone, rel=0, abs=1e-9)


@pytest.mark.slow
def test_ppo_in_two_processes_goes_on_as_if_never_stopped(train, tmp_path):
    keys = PPO | {"per_device_train_batch_size": 2, "ppo_epochs": 3, "max_steps": 6, "save_steps": 4}
    straight = train(2, output_dir="straight", **keys)
    assert len(set(straight)) == 6
    shutil.copytree(tmp_path / "straight" / "checkpoint-4", tmp_path / "resumed" / "checkpoint-4")
    shutil.copy(tmp_path / "straight" / "plan.json", tmp_path / "resumed")
    assert train(2, output_dir="resumed", **keys) == straight[4:]
