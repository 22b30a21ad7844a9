"""How many rows of a dataset may be unusable."""

from __future__ import annotations

from math import floor


def drop_limit(written: str | None, rows: int) -> int | None:
    """``"1%"`` or ``"10"`` as a number of rows; ``None`` without a limit. Raises ValueError for anything else."""
    if written is None:
        return None
    number = written.strip().removesuffix("%")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    percent = written.strip().endswith("%")
    if not value >= 0 or (percent and value > 100) or (not percent and value != int(value)):
        raise ValueError(f"max_drop={written!r} is neither a number of rows nor a percentage")
    return floor(rows * value / 100 + 1e-9) if percent else int(value)
