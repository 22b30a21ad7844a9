"""One of several processes that train a tiny model together. usage: torchrun ... processes.py FOLDER KEYS (JSON)

The first process writes the losses, the evaluation loss, the final weights and how many micro-batches each process made
to FOLDER/result.pt.
"""

import json
import sys
from pathlib import Path

import torch
from conftest import Workbench
from torch import distributed

from ft_plugin_trainer.objective import NextToken


class Counting(NextToken):
    """Counts its micro-batches in training."""

    made = 0

    def sums(self, model, batch):
        self.made += model.training
        return super().sums(model, batch)


def main(folder: Path, keys: dict) -> None:
    bench, objective = Workbench(folder), Counting()
    trainer = bench.trainer(rows=bench.rows(21), eval_rows=bench.rows(7, seed=1), objective=objective, **keys)
    trainer.train()
    made = [objective.made] * trainer.accelerator.num_processes
    if distributed.is_initialized():
        distributed.all_gather_object(made, objective.made)
    metrics = trainer.evaluate()
    if trainer.is_world_process_zero():
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        weights = dict(trainer.model.named_parameters())
        result = {"losses": losses, "eval_loss": metrics["eval_loss"], "weights": weights, "micro_batches": made}
        torch.save(result, folder / "result.pt")
    trainer.accelerator.wait_for_everyone()
    if distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
