"""One of several processes that train a tiny model together. usage: torchrun ... processes.py FOLDER KEYS (JSON)"""

import json
import os
import sys
from pathlib import Path

import torch

from ftk.execute import start
from ftk_sdk.testing import make_run
from ftk_sdk.tiny import write_tiny_model


def main(folder: Path, keys: dict) -> None:
    # Seven rows: accelerate fills the last batch of an epoch with some from its beginning.
    rows = [{"instruction": f"say {n}", "chosen": "yes " * (n % 4 + 1), "rejected": "no " * n + "."} for n in range(7)]
    model, data = folder / f"model-{keys.pop('rank')}", folder / "rows.json"
    write_tiny_model(model, dtype=torch.float64, seed=3)
    data.write_text(json.dumps(rows))
    settled = {
        "stage": "dpo",
        "finetuning_type": "full",
        "model_name_or_path": str(model),
        "model_dtype": "float64",
        "dataset": str(data),
        "output_dir": str(folder / "out"),
        "use_cpu": True,
        "optim": "sgd",
        "learning_rate": 0.05,
        "max_steps": 4,
        "logging_steps": 1,
        "save_strategy": "no",
    }
    start(make_run({**settled, **keys}))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), {**json.loads(sys.argv[2]), "rank": os.environ.get("RANK", "0")})
