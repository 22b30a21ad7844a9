"""The reference's log-probabilities of every row, computed once and kept on disk.

They stay valid as long as the reference's weights, the token ids of the rows and what is summed are the same, which is
hashed; anything else makes them anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
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

if TYPE_CHECKING:
    from ft_plugin_reference_model.reference import Reference
    from ft_plugin_trainer.objective import Batch
    from ft_plugin_trainer.trainer import FtkTrainer
    from ftk.run import Run

FOLDER = "reference_log_probs"


def use_precomputed(
    run: Run,
    trainer: FtkTrainer,
    reference: Reference | None,
    logps: Callable[[nn.Module, Batch], Sequence[torch.Tensor]],
    *,
    columns: Sequence[str],
    summed: str = "",
) -> None:
    """Give every row of the trainer's datasets the reference's log-probabilities, which is not needed then.

    logps    policy and batch -> what the reference says, a tensor of shape B for each of ``columns``
    columns  names of the columns that rows get; the trainer's collator makes tensors of shape B of them
    summed   what decides these values beside the weights and the token ids of rows
    """
    assert reference is not None
    with reference.active(trainer.model) as module:
        table = Precomputed(run, trainer, logps, columns, f"{weights_hash(module)} {summed}")
    if trainer.train_dataset is not None:
        trainer.train_dataset = table.columns_of("train", trainer.train_dataset)
    if isinstance(trainer.eval_dataset, Mapping):
        trainer.eval_dataset = {name: table.columns_of(f"eval-{name}", d) for name, d in trainer.eval_dataset.items()}
    elif trainer.eval_dataset is not None:
        trainer.eval_dataset = table.columns_of("eval", trainer.eval_dataset)


class Precomputed:
    def __init__(
        self,
        run: Run,
        trainer: FtkTrainer,
        logps: Callable[[nn.Module, Batch], Sequence[torch.Tensor]],
        columns: Sequence[str],
        identity: str,
    ) -> None:
        self.run, self.trainer, self.logps, self.columns, self.identity = run, trainer, logps, columns, identity

    def columns_of(self, name: str, rows: Any) -> Dataset:
        """The rows with the columns, taken from the file of this name if it was made of the same."""
        if not isinstance(rows, Dataset):
            raise RunError("precompute_ref_log_probs needs rows that are all there before training", "unset streaming")
        path = self.run.output_dir / FOLDER / f"{name}.safetensors"
        identity = f"{self.identity} {rows_hash(rows)}"
        kept = read(path, identity, self.columns)
        if kept is None:
            self.run.logger.info("reference log-probabilities of %d rows (%s) are computed", len(rows), name)
            kept = self._computed(rows)
            if self.trainer.is_world_process_zero():
                path.parent.mkdir(parents=True, exist_ok=True)
                save_file(kept, path, metadata={"made of": identity})
        else:
            self.run.logger.info("reference log-probabilities of %s: from %s", name, path)
        for column in self.columns:
            rows = rows.add_column(column, pa.array(kept[column].numpy()))
        return rows

    def _computed(self, rows: Dataset) -> dict[str, torch.Tensor]:
        """Rows of like length together, and shared out among the processes."""
        accelerator, size = self.trainer.accelerator, self.trainer.args.per_device_eval_batch_size
        lengths = [self.trainer.objective.length(row) for row in rows]
        order = np.argsort(lengths, kind="stable")[::-1]
        mine = order[accelerator.process_index :: accelerator.num_processes]
        out = {column: torch.zeros(len(rows), dtype=torch.float64) for column in self.columns}
        for start in range(0, len(mine), size):
            index = mine[start : start + size].tolist()
            batch = self.trainer.data_collator([rows[i] for i in index])
            batch = {name: value.to(accelerator.device) for name, value in batch.items()}
            with accelerator.autocast():
                known = self.logps(self.trainer.model, batch)
            for column, values_B in zip(self.columns, known, strict=True):
                out[column][index] = values_B.double().cpu()
        if accelerator.num_processes > 1:
            on_device = {column: values.to(accelerator.device) for column, values in out.items()}
            out = {column: accelerator.reduce(values, "sum").cpu() for column, values in on_device.items()}
        return out


def read(path: Path, identity: str, columns: Sequence[str]) -> dict[str, torch.Tensor] | None:
    """What the file holds, if it was made of this."""
    try:
        with safe_open(path, "pt") as f:
            if (f.metadata() or {}).get("made of") != identity:
                return None
            return {column: f.get_tensor(column) for column in columns}
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
