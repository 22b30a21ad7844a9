"""What a numerical test compares with, said where the test is, so that the docs' table of evidence is made from it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

F = TypeVar("F", bound=Callable)


@dataclass(frozen=True, slots=True, order=True)
class Evidence:
    """One claim of a test."""

    stage: str
    loss: str
    against: str
    test: str
    """``path::name`` of the test, from the folder that was searched."""


def checked(*, stage: str, loss: str | list[str], against: str) -> Callable[[F], F]:
    """Say that the test below checks a loss, an advantage or a reward of a stage, and against what.

    Arguments are literals: the table is made by reading the source. A test that is skipped proves nothing, so a test
    whose reference may be absent says so in ``against``.
    """

    return lambda test: test


def found_in(root: Path) -> list[Evidence]:
    """All claims of the tests below a folder, sorted. Raises ValueError for a claim that is not made of literals."""
    return sorted(e for path in root.glob("*/*/tests/**/*.py") for e in _claims(path, path.relative_to(root)))


def _claims(path: Path, name: Path) -> Iterator[Evidence]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.FunctionDef):
            continue
        for mark in node.decorator_list:
            if not (isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "checked"):
                continue
            try:
                said = {k.arg: ast.literal_eval(k.value) for k in mark.keywords}
            except ValueError:
                raise ValueError(f"{name}:{mark.lineno}: the arguments of checked() must be literals") from None
            losses = said["loss"] if isinstance(said["loss"], list) else [said["loss"]]
            for loss in losses:
                yield Evidence(said["stage"], loss, said["against"], f"{name.as_posix()}::{node.name}")
