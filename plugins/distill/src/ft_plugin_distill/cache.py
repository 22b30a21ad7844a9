"""What a teacher says of a data set, on disk: the most likely tokens of each target and their log-probabilities."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ft_plugin_trainer.files import publish, staging_of

IDENTITY = "made-of.json"


class Kept:
    """An opened cache. Targets of a row lie together, rows in the order of the data."""

    def __init__(self, folder: Path) -> None:
        self.starts = np.load(folder / "starts.npy")
        self.ids = np.load(folder / "ids.npy", mmap_mode="r")
        self.logprobs = np.load(folder / "logprobs.npy", mmap_mode="r")

    def of(self, rows: Iterable[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and log-probabilities of all targets of these rows, (N, k) each."""
        parts = [slice(self.starts[row], self.starts[row + 1]) for row in rows]
        ids, logprobs = (np.concatenate([array[part] for part in parts]) for array in (self.ids, self.logprobs))
        return torch.from_numpy(ids.astype(np.int64)), torch.from_numpy(logprobs)


def opened(folder: Path, identity: dict[str, Any]) -> Kept | None:
    """The cache there, if it is whole and made of the same."""
    try:
        found = json.loads((folder / IDENTITY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return Kept(folder) if found == identity else None


def write(
    folder: Path,
    identity: dict[str, Any],
    targets: list[int],
    k: int,
    predictions: Iterable[tuple[torch.Tensor, torch.Tensor]],
) -> None:
    """Make a cache, whole or not at all.

    targets      how many each row has
    predictions  ids and log-probabilities of the targets of some rows, (n, k) each, in order
    """
    staging = staging_of(folder)
    staging.mkdir(parents=True, exist_ok=True)
    starts = np.concatenate([[0], np.cumsum(targets)])
    np.save(staging / "starts.npy", starts)
    shape, files = (int(starts[-1]), k), {}
    at = 0
    for found in predictions:
        for name, tensor in zip(("ids", "logprobs"), found, strict=True):
            array = tensor.cpu().numpy().astype(np.int32 if name == "ids" else tensor.cpu().numpy().dtype)
            if name not in files:
                files[name] = np.lib.format.open_memmap(staging / f"{name}.npy", "w+", array.dtype, shape)
            files[name][at : at + len(array)] = array
        at += len(found[0])
    for file in files.values():
        file.flush()
    (staging / IDENTITY).write_text(json.dumps(identity), encoding="utf-8")
    publish(staging, folder)
