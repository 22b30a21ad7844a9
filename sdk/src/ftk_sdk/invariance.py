"""Ways to cut one global batch, none of which may change what is learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

TOLERANCE = 1e-9
"""Between losses in float64: they differ by the order of sums only."""


def cuts(rows: int) -> dict[str, dict[str, Any]]:
    """What a user may call it -> keys. Each makes global batches of ``rows`` rows, an even number."""
    whole = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": 1}
    halves = {"per_device_train_batch_size": rows // 2, "gradient_accumulation_steps": 2}
    return {
        "one batch": whole,
        "two halves, sorted by length": halves | {"sort_micro_batches": True},
        "two halves, as they come": halves | {"sort_micro_batches": False},
        "row by row": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": rows},
        "one batch, activations computed twice": whole | {"disable_gradient_checkpointing": False},
    }


def largest_difference(curves: Mapping[str, Sequence[float]]) -> float:
    """Between any two curves at any step. Curves of unequal length differ infinitely."""
    if len({len(curve) for curve in curves.values()}) > 1:
        return float("inf")
    return max((max(step) - min(step) for step in zip(*curves.values(), strict=True)), default=0.0)
