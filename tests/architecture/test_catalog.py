"""What is generated is fresh, and the catalogue is the only place where the kernel knows a method's name."""

from __future__ import annotations

import ast
import json
import re

import pytest

from ftk_sdk.maintain import catalog
from ftk_sdk.maintain.__main__ import TASKS, stale
from ftk_sdk.maintain.packages import root

TOP = root()
KINDS = (
    "accelerator",
    "adapter",
    "addon",
    "engine",
    "exporter",
    "launcher",
    "loader",
    "loss",
    "optimizer",
    "quantizer",
    "stage",
    "tracker",
)
ORDINARY = {"freeze", "full", "hub", "merge", "packing", "predict", "profiler", "reward", "rope", "vision"}
"""Names of components that are words of the language too."""
ALLOWED = {
    # A parameter of ``from_pretrained``, and environment variables that turn telemetry off.
    "contracts.py": {"gguf"},
    "run.py": {"hf"},
}
FILES = sorted((TOP / "kernel" / "src" / "ftk").rglob("*.py"))


@pytest.mark.parametrize("task", TASKS)
def test_what_is_generated_is_fresh(task):
    old = [str(path.relative_to(TOP)) for path in stale(TOP, [task])]
    assert old == [], f"run: python -m ftk_sdk.maintain {task}"


def test_no_name_is_reserved_that_a_plugin_owns():
    _, notes = catalog.build(TOP)
    assert notes == [], "delete these from sdk/src/ftk_sdk/reserved.json"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_the_kernel_names_no_method(path):
    components = json.loads((TOP / catalog.PATH).read_text(encoding="utf-8"))["components"]
    methods = {cid.partition(":")[2] for cid in components if cid.partition(":")[0] in KINDS} - ORDINARY
    allowed = ALLOWED.get(path.relative_to(TOP / "kernel" / "src" / "ftk").as_posix(), set())
    named = sorted(
        f"{w} (line {line})" for w, line in words(path.read_text(encoding="utf-8")) if w in methods - allowed
    )
    assert named == [], f"{path.relative_to(TOP)} knows these methods"


def words(source: str) -> set[tuple[str, int]]:
    """Identifiers and texts of a program, and their parts, but for docstrings, whose examples need names."""
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = set()
    for node in ast.walk(tree):
        texts = [getattr(node, field, None) for field in ("id", "attr", "name", "arg", "asname", "module")]
        if isinstance(node, ast.Constant) and id(node) not in docstrings:
            texts.append(node.value)
        for text in (t for t in texts if isinstance(t, str)):
            parts = re.findall(r"[a-z0-9]+(?:[-.][a-z0-9]+)*", text.lower().replace("_", "-"))
            found |= {(w, getattr(node, "lineno", 0)) for part in parts for w in (part, *re.split("[-.]", part))}
    return found


def test_a_method_is_found_in_names_and_texts_but_not_in_docstrings():
    source = 'def use_galore(x):\n    """Such as lora."""\n    return x.adam_mini or "adapter:dora" in x\n'
    found = {word for word, _ in words(source)}
    assert {"galore", "adam-mini", "dora"} <= found and "lora" not in found
