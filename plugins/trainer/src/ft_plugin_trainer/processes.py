"""What the processes of a run tell each other. One that is alone hears itself."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import distributed

T = TypeVar("T")


def rank_of_all() -> tuple[int, int]:
    """Which process this is, counted from 0, and how many there are."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def from_all_processes(values: list[T]) -> tuple[int, list[T]]:
    """The values of all processes, in their order, and where those of this one begin. Not for tensors of a device."""
    rank, processes = rank_of_all()
    if processes == 1:
        return 0, values
    parts: list[list[T]] = [[] for _ in range(processes)]
    distributed.all_gather_object(parts, values)
    return sum(len(part) for part in parts[:rank]), [v for part in parts for v in part]


def summed_over_processes(values: torch.Tensor) -> torch.Tensor:
    """The sum of the tensors of all processes, all of one shape, on the device of each; in place."""
    if rank_of_all()[1] > 1:
        distributed.all_reduce(values)
    return values
