"""The reference's log-probabilities of every pair, computed once and kept on disk.

They stay valid as long as the reference's weights, the token ids of the pairs and what is summed are the same, which is
hashed; anything else makes them anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from ftk.problems import RunError

from .pairs import REFERENCE, length_of

if TYPE_CHECKING:
    from ft_plugin_trainer.trainer import FtkTrainer
    from ftk.run import Run

    from .objective import PairObjective

FOLDER = "reference_log_probs"


def use_precomputed(run: Run, trainer: FtkTrainer, objective: PairObjective) -> None:
    """Give every row of the trainer's datasets the reference's log-probabilities, and let go of the reference."""
    table = Precomputed(run, trainer, objective)
    if trainer.train_dataset is not None:
        trainer.train_dataset = table.columns_of("train", trainer.train_dataset)
    if isinstance(trainer.eval_dataset, Mapping):
        trainer.eval_dataset = {name: table.columns_of(f"eval-{name}", d) for name, d in trainer.eval_dataset.items()}
    elif trainer.eval_dataset is not None:
        trainer.eval_dataset = table.columns_of("eval", trainer.eval_dataset)
    objective.reference = None


class Precomputed:
    def __init__(self, run: Run, trainer: FtkTrainer, objective: PairObjective) -> None:
        self.run, self.trainer, self.objective = run, trainer, objective
        assert objective.reference is not None
        with objective.reference.active(trainer.model) as module:
            self.reference = f"{weights_hash(module)} ld_alpha={objective.score.ld_alpha}"

    def columns_of(self, name: str, rows: Any) -> Dataset:
        """The rows with two columns more, taken from the file of this name if it was made of the same."""
        if not isinstance(rows, Dataset):
            raise RunError("precompute_ref_log_probs needs rows that are all there before training", "unset streaming")
        path = self.run.output_dir / FOLDER / f"{name}.safetensors"
        identity = f"{self.reference} {rows_hash(rows)}"
        kept = read(path, identity)
        if kept is None:
            self.run.logger.info("reference log-probabilities of %d pairs (%s) are computed", len(rows), name)
            kept = self._computed(rows)
            if self.trainer.is_world_process_zero():
                path.parent.mkdir(parents=True, exist_ok=True)
                save_file(kept, path, metadata={"made of": identity})
        else:
            self.run.logger.info("reference log-probabilities of %s: from %s", name, path)
        for column in REFERENCE:
            rows = rows.add_column(column, pa.array(kept[column].numpy()))
        return rows

    def _computed(self, rows: Dataset) -> dict[str, torch.Tensor]:
        """Rows of like length together, and shared out among the processes."""
        accelerator, size = self.trainer.accelerator, self.trainer.args.per_device_eval_batch_size
        lengths = [length_of(row) for row in rows]
        order = np.argsort(lengths, kind="stable")[::-1]
        mine = order[accelerator.process_index :: accelerator.num_processes]
        out = {column: torch.zeros(len(rows), dtype=torch.float64) for column in REFERENCE}
        for start in range(0, len(mine), size):
            index = mine[start : start + size].tolist()
            batch = self.trainer.data_collator([rows[i] for i in index])
            batch = {name: value.to(accelerator.device) for name, value in batch.items()}
            with accelerator.autocast():
                known = self.objective.reference_logps(self.trainer.model, batch)
            for column, values_B in zip(REFERENCE, known, strict=True):
                out[column][index] = values_B.double().cpu()
        if accelerator.num_processes > 1:
            on_device = {column: values.to(accelerator.device) for column, values in out.items()}
            out = {column: accelerator.reduce(values, "sum").cpu() for column, values in on_device.items()}
        return out


def read(path: Path, identity: str) -> dict[str, torch.Tensor] | None:
    """What the file holds, if it was made of this."""
    try:
        with safe_open(path, "pt") as f:
            if (f.metadata() or {}).get("made of") != identity:
                return None
            return {column: f.get_tensor(column) for column in REFERENCE}
    except (OSError, SafetensorError):
        return None


@torch.no_grad()
def weights_hash(model: nn.Module) -> str:
    """Of names, types, shapes, and of sums that any change of a weight changes."""
    digest = hashlib.sha256()
    for name, p in sorted(model.state_dict().items()):
        sums = (p.double().sum().item(), p.double().square().sum().item()) if isinstance(p, torch.Tensor) else ()
        digest.update(f"{name} {getattr(p, 'dtype', '')} {tuple(getattr(p, 'shape', ()))} {sums}".encode())
    return digest.hexdigest()[:16]


def rows_hash(rows: Dataset) -> str:
    """Of all token ids and labels, in order."""
    digest = hashlib.sha256()
    names = sorted(name for name in rows.column_names if name.endswith(("input_ids", "labels")))
    for table in rows.select_columns(names).with_format("arrow").iter(10_000):
        for name in names:
            digest.update(pc.list_value_length(table[name]).to_numpy().tobytes())
            digest.update(pc.list_flatten(table[name]).to_numpy().tobytes())
    return digest.hexdigest()[:16]
