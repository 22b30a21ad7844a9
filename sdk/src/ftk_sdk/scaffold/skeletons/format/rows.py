"""From rows to examples."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from ftk.contracts import DatasetSpec, Example, Formatter
from ftk.markers import hookimpl
from ftk.problems import RowError

if TYPE_CHECKING:
    from ftk.run import Run


class SkeletonName:
    @hookimpl
    def ftk_formatter(self, run: Run, spec: DatasetSpec) -> Formatter:
        # Users rename columns in dataset_info.json; what they do not name keeps its own name.
        question, answer = (spec.columns.get(role, role) for role in ("question", "answer"))
        return partial(read, question=question, answer=answer)


def read(row: Mapping[str, Any], *, question: str, answer: str) -> Example:
    """One row as a conversation of two turns. A function of the module, so that worker processes can have it."""
    return Example(
        messages=(
            {"role": "user", "content": text_of(row, question)},
            {"role": "assistant", "content": text_of(row, answer)},
        )
    )


def text_of(row: Mapping[str, Any], column: str) -> str:
    """Raises RowError, whose text is all that a user sees of a row that was left out."""
    if column not in row:
        raise RowError(f"no column {column!r}")
    value = row[column]
    if not isinstance(value, str) or not value.strip():
        raise RowError(f"column {column!r} holds no text: {value!r}")
    return value
