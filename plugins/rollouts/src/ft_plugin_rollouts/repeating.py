"""Drawing the prompts of a step several times in a row."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class RepeatedBatches(Sampler[int]):
    """Indices of ``rows`` rows, ``size`` at a time, and each such batch ``times`` times; what is left over is left out.

    seed  shuffles, another way in each epoch; None: in order
    """

    def __init__(self, rows: int, size: int, times: int, *, seed: int | None) -> None:
        self.rows, self.size, self.times, self.seed, self.epoch = rows, size, times, seed, 0

    def __len__(self) -> int:
        return self.rows // self.size * self.size * self.times

    def __iter__(self) -> Iterator[int]:
        order = list(range(self.rows))
        if self.seed is not None:
            order = torch.randperm(self.rows, generator=torch.Generator().manual_seed(self.seed + self.epoch)).tolist()
        for at in range(0, self.rows - self.size + 1, self.size):
            for _ in range(self.times):
                yield from order[at : at + self.size]

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
