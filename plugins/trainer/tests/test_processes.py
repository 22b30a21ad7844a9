"""Two processes train as one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

KEYS = {"learning_rate": 5e-3, "num_train_epochs": 2, "use_cpu": True, "save_strategy": "epoch"}
"""21 rows: the last global batch of an epoch is incomplete, and accelerate fills it with rows from the beginning."""


def train(folder: Path, processes: int, **keys) -> dict:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    script = str(Path(__file__).with_name("processes.py"))
    command = [sys.executable, *(launcher if processes > 1 else []), script, str(folder), json.dumps(KEYS | keys)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(folder / "result.pt", weights_only=False)


@pytest.mark.slow
def test_batches_accumulation_and_processes_of_equal_product_give_one_result(tmp_path):
    alone = train(tmp_path / "alone", 1, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    splits = {
        "as drawn": {
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 2,
            "sort_micro_batches": False,
        },
        "cut by cost": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4},
        "in step": {
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": 4,
            "accelerator_config": {"gradient_accumulation_kwargs": {"sync_each_batch": True}},
        },
    }
    made = {}
    for name, keys in splits.items():
        together = train(tmp_path / name, 2, per_device_eval_batch_size=3, **keys)
        made[name] = together["micro_batches"]
        assert together["losses"] == pytest.approx(alone["losses"], rel=0, abs=1e-9), name
        assert together["eval_loss"] == pytest.approx(alone["eval_loss"], rel=0, abs=1e-9), name
        for parameter, value in alone["weights"].items():
            torch.testing.assert_close(together["weights"][parameter], value, rtol=0, atol=1e-9)
        assert (tmp_path / name / "out" / "checkpoint-6" / "rng_state_1.pth").exists()
    assert len(set(made["as drawn"])) == len(set(made["in step"])) == 1
    assert len(set(made["cut by cost"])) == 2  # each process cuts its rows as is best for them
