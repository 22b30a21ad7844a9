"""Two processes train as one does: kto and bco, whose answers matter to each other's loss."""

import json
import os
import subprocess
import sys

import pytest

from ftk_sdk.tiny import write_tiny_model

# 9 rows: of the last global batch of 4 one process has a row, and the other has only what accelerate repeats.
ROWS = [
    {
        "instruction": f"say {'hello ' * (n % 3)}{n}",
        "output": f"the answer {'lazy ' * (n % 4)}{n}",
        "kto_tag": n % 3 > 0,
    }
    for n in range(9)
]


def trained(folder, model, processes, **keys):
    folder.mkdir()
    (folder / "rows.json").write_text(json.dumps(ROWS))
    settings = {
        "model_name_or_path": str(model),
        "finetuning_type": "full",
        "template": "chatml",
        "model_dtype": "float64",
        "dataset": str(folder / "rows.json"),
        "eval_dataset": str(folder / "rows.json"),
        "do_train": True,
        "do_eval": True,
        "output_dir": str(folder / "out"),
        "pref_beta": 0.5,
        "pref_ftx": 0.2,
        "num_train_epochs": 2,
        "logging_steps": 1,
        "learning_rate": 5e-3,
        "save_strategy": "no",
        "use_cpu": True,
    }
    (folder / "run.yaml").write_text(json.dumps(settings | keys))
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)] if processes > 1 else []
    )
    command = [sys.executable, *launcher, "-m", "ftk.cli.main", "run", str(folder / "run.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    log = [json.loads(line) for line in (folder / "out" / "trainer_log.jsonl").read_text().splitlines()]
    return log, json.loads((folder / "out" / "eval_results.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["kto", "bco"])
def test_processes_and_accumulation_of_equal_product_give_one_result(tmp_path, stage):
    model = write_tiny_model(tmp_path / "model")
    alone, alone_eval = trained(tmp_path / "alone", model, 1, stage=stage, per_device_train_batch_size=4)
    cuts = {
        "two": {"per_device_train_batch_size": 2},
        "two-accumulating": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2},
    }
    for name, keys in cuts.items():
        log, evaluation = trained(tmp_path / name, model, 2, stage=stage, per_device_eval_batch_size=2, **keys)
        for key in ("loss", "rewards/chosen", "rewards/margins", "sft_loss", "kl" if stage == "kto" else "delta"):
            ours, theirs = ([entry[key] for entry in entries if key in entry] for entries in (log, alone))
            assert len(ours) > 3 and ours == pytest.approx(theirs, rel=0, abs=1e-9), (name, key)
            assert evaluation[f"eval_{key}"] == pytest.approx(alone_eval[f"eval_{key}"], rel=0, abs=1e-9), (name, key)
