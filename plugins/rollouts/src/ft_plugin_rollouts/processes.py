"""What the processes of a run tell each other about their completions."""

from __future__ import annotations

from typing import TypeVar

import torch.distributed

T = TypeVar("T")


def from_all_processes(values: list[T]) -> tuple[int, list[T]]:
    """The values of all processes, in their order, and where those of this one begin."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return 0, values
    parts: list[list[T]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(parts, values)
    return sum(len(part) for part in parts[: torch.distributed.get_rank()]), [v for part in parts for v in part]
