"""Files and functions stay small enough to be read in one go."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ftk_sdk.maintain.packages import root

TOP = root()
LIMITS = {"kernel": (220, 40), "sdk": (300, 60), "plugins": (300, 60), "contrib": (300, 60)}
FILES = [p for part in LIMITS for p in sorted(TOP.glob(f"{part}/**/src/**/*.py"))]


def limits(path: Path) -> tuple[int, int]:
    return LIMITS[path.relative_to(TOP).parts[0]]


def test_there_is_something_to_measure():
    assert len(FILES) > 50


@pytest.mark.parametrize("part", LIMITS)
def test_files_are_short(part):
    long = {
        str(p.relative_to(TOP)): n
        for p in FILES
        if p.relative_to(TOP).parts[0] == part and (n := lines(p)) > limits(p)[0]
    }
    assert long == {}, f"at most {LIMITS[part][0]} lines in {part}"


@pytest.mark.parametrize("part", LIMITS)
def test_functions_are_short(part):
    long = {}
    for path in (p for p in FILES if p.relative_to(TOP).parts[0] == part):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > limits(path)[1]:
                    long[f"{path.relative_to(TOP)}:{node.lineno} {node.name}"] = length
    assert long == {}, f"at most {LIMITS[part][1]} lines in {part}"


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())
