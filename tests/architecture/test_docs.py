"""Every hook, kind, component, command and key is documented, with its exact signature, used and tested."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re

import pytest

from ftk.cli.main import COMMANDS
from ftk.kinds import KINDS
from ftk.settings import RunConfig
from ftk_sdk.maintain.packages import find, root
from ftk_sdk.maintain.reference import HEADINGS, PLAN_SPECS, RUN_SPECS, headings, hooks_of, signature

TOP = root()
PACKAGES = find(TOP, "plugins/*", "contrib/*")
REFERENCE = TOP / "docs" / "reference"
PLUGIN_SPECS = [spec for package in PACKAGES for spec in package.hookspecs()]
HOOKS = {name: function for spec in (*PLAN_SPECS, *RUN_SPECS, *PLUGIN_SPECS) for name, function, _ in hooks_of(spec)}


def page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", HOOKS)
def test_a_hooks_docstring_has_the_four_headings(name):
    doc = inspect.cleandoc(HOOKS[name].__doc__ or "")
    assert [head for head, _ in headings(doc)] == list(HEADINGS), f"{name} needs {', '.join(HEADINGS)}, in this order"
    assert all(text for _, text in headings(doc))


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_is_documented_with_its_exact_signature(name):
    assert signature(name, HOOKS[name]) in page("hooks.md")


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_is_typed(name):
    made = inspect.signature(HOOKS[name])
    bare = [p.name for p in made.parameters.values() if p.name != "self" and p.annotation is p.empty]
    assert not bare and made.return_annotation is not made.empty, (
        f"{name} lacks annotations: {bare or 'what it returns'}"
    )


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_has_a_call_site(name):
    sources = [p for part in ("kernel/src", "plugins/*/src", "contrib/*/src") for p in TOP.glob(f"{part}/**/*.py")]
    assert any(name in strings(path.read_text(encoding="utf-8")) for path in sources), f"nothing calls {name}"


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_is_named_by_a_test(name):
    folders = ("kernel/tests", "sdk/tests", "plugins/*/tests", "contrib/*/tests", "tests/[!a]*")
    tests = [p for folder in folders for p in TOP.glob(f"{folder}/**/*.py")]
    assert any(re.search(rf"\b{name}\b", p.read_text(encoding="utf-8")) for p in tests), f"no test names {name}"


def test_the_hooks_are_about_thirty():
    kernel = [name for spec in (*PLAN_SPECS, *RUN_SPECS) for name, _, _ in hooks_of(spec)]
    assert len(kernel) == len(set(kernel)) <= 33
    assert all(name.startswith("ftk_") for name in HOOKS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_documented(kind):
    assert f"\n## {kind}\n" in page("components.md")


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.name)
def test_components_and_keys_are_documented(package):
    components, keys = page("components.md"), page("keys.md")
    assert [c.id for c in package.components() if f"| `{c.id}` | {package.name} |" not in components] == []
    fields = [f.name for cls in package.sections() for f in dataclasses.fields(cls)]
    assert [name for name in fields if f"| `{name}` |" not in keys] == []


def test_the_kernels_keys_are_documented():
    assert [f.name for f in dataclasses.fields(RunConfig) if f"| `{f.name}` |" not in page("keys.md")] == []


def test_every_command_is_documented():
    offered = [name for p in (*PACKAGES, *find(TOP, "sdk")) for name in p.entry_points("ftk.commands")]
    assert [name for name in (*COMMANDS, *offered) if f"\n## ftk {name}\n" not in page("cli.md")] == []


def strings(source: str) -> set[str]:
    """Texts that a program holds, without its docstrings: hooks are called by their names."""
    tree = ast.parse(source)
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return {
        n.value
        for n in ast.walk(tree)
        if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in bare
    }
