"""One of several processes that train a tiny model together. usage: torchrun ... processes.py FOLDER KEYS (JSON)

The first process writes the losses, the evaluation loss and the final weights to FOLDER/result.pt.
"""

import json
import sys
from pathlib import Path

import torch
from conftest import Workbench


def main(folder: Path, keys: dict) -> None:
    bench = Workbench(folder)
    trainer = bench.trainer(rows=bench.rows(21), eval_rows=bench.rows(7, seed=1), **keys)
    trainer.train()
    metrics = trainer.evaluate()
    if trainer.is_world_process_zero():
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        weights = dict(trainer.model.named_parameters())
        torch.save({"losses": losses, "eval_loss": metrics["eval_loss"], "weights": weights}, folder / "result.pt")
    trainer.accelerator.wait_for_everyone()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
