"""Columns of text."""

from __future__ import annotations

import shutil
from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> str:
    """Left-aligned columns; the last is cut at the terminal's width, never a name."""
    if not rows:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    width = max(shutil.get_terminal_size((160, 24)).columns, 60)
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(
        f"{indent}{line}"[: max(width, len(indent) + sum(widths[:-1]) + 2 * len(widths))] for line in lines
    )
