"""Two processes learn what one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

KEYS = {"optim": "sgd", "learning_rate": 0.5, "max_steps": 4, "grpo_scale_rewards": "batch", "grpo_beta": 0.1}


def train(folder: Path, processes: int, **keys) -> tuple[list[float], dict[str, torch.Tensor]]:
    folder.mkdir()
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    script = str(Path(__file__).with_name("processes.py"))
    command = [sys.executable, *(launcher if processes > 1 else []), script, str(folder), json.dumps(KEYS | keys)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    log = map(json.loads, (folder / "out" / "trainer_log.jsonl").read_text().splitlines())
    return [entry["reward"] for entry in log if "reward" in entry], load_file(folder / "out" / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("keys", [{}, {"grpo_num_iterations": 2, "grpo_epsilon": 0.02}], ids=["one step", "two steps"])
def test_processes_learn_together_what_one_does(tmp_path, keys):
    rewards, weights = train(tmp_path / "alone", 1, per_device_train_batch_size=4, **keys)
    for name, split in {
        "whole": {"per_device_train_batch_size": 2},
        "cut": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2, "grpo_micro_batch_size": 3},
    }.items():
        together, theirs = train(tmp_path / name, 2, **split, **keys)
        assert together == pytest.approx(rewards, rel=0, abs=1e-9)
        for parameter, weight in weights.items():
            # Norms are in float32, through which gradients of a shared prompt go together.
            torch.testing.assert_close(theirs[parameter], weight, rtol=0, atol=1e-7)
