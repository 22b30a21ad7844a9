"""Every distribution declares what it imports, and imports point one way: kernel <- sdk <- plugins <- contrib."""

from __future__ import annotations

import ast
import importlib.metadata
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from ftk.discover import canonical
from ftk_sdk.maintain.packages import Package, find, root
from ftk_sdk.scaffold import KINDS, write

TOP = root()
PACKAGES = find(TOP, "kernel", "sdk", "plugins/*", "contrib/*")
OWN = {path.name: p.name for p in PACKAGES for path in (p.folder / "src").iterdir() if path.is_dir()}
RANKS = {"kernel": 0, "sdk": 1, "plugins": 2, "contrib": 3}
# Written for distributions that do not exist yet: checked below, as the distributions that they become.
SKELETONS = TOP / "sdk" / "src" / "ftk_sdk" / "scaffold" / "skeletons"


def imports(folder: Path) -> dict[str, list[str]]:
    """Top-level module -> the places that import it at run time."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.rglob("*.py")):
        if not path.is_relative_to(SKELETONS):
            for name, line in imported(ast.parse(path.read_text(encoding="utf-8"))):
                found[name].append(f"{path.relative_to(folder)}:{line}")
    return found


def imported(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Absolute imports below a node, but for those in ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name.partition(".")[0], child.lineno) for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and not child.level:
            yield str(child.module).partition(".")[0], child.lineno
        elif not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)):
            yield from imported(child)


def distributions(module: str) -> set[str]:
    """The distributions that an import of the module needs."""
    if module in OWN:
        return {OWN[module]}
    return {canonical(d) for d in importlib.metadata.packages_distributions().get(module, [module])}


def declared(package: Package) -> set[str]:
    """Dependencies, and those of an extra: what an extra brings is imported by modules that say so."""
    extras = package.project.get("optional-dependencies", {}).values()
    needs = [*package.dependencies, *(need for extra in extras for need in extra)]
    return {canonical(Requirement(need).name) for need in needs}


def undeclared(package: Package) -> list[str]:
    known = declared(package) | {package.name}
    return [
        f"{module} ({', '.join(sorted(distributions(module)))}) in {', '.join(places)}"
        for module, places in imports(package.folder / "src").items()
        if module not in sys.stdlib_module_names and not distributions(module) & known
    ]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.name)
def test_every_import_is_a_declared_dependency(package):
    assert not undeclared(package), f"{package.name} imports these, and its pyproject.toml does not name them"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.name)
def test_imports_point_one_way(package):
    rank = RANKS[package.folder.relative_to(TOP).parts[0]]
    by_name = {p.name: RANKS[p.folder.relative_to(TOP).parts[0]] for p in PACKAGES}
    for module, places in imports(package.folder / "src").items():
        other = OWN.get(module, package.name)
        assert by_name[other] <= rank, f"{package.name} imports {other}, which is built on it: {places}"
        assert other != "ftk-sdk" or rank < 2 or package.name == "ft-plugin-verify", (
            f"{package.name} imports the sdk, which is for tests: {places}"
        )


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.name)
def test_plugins_of_the_repository_are_declared_to_depend_one_way(package):
    below = (
        {p.name for p in PACKAGES if p.folder.parts[-2] == "contrib"} if package.folder.parts[-2] != "contrib" else ()
    )
    assert not declared(package) & set(below), f"{package.name} depends on contrib, which may be removed"


@pytest.mark.parametrize("kind", KINDS)
def test_what_ftk_new_writes_declares_its_imports(tmp_path, kind):
    write(kind, "example", tmp_path)
    (package,) = find(tmp_path, "*")
    assert not undeclared(package)


def test_an_undeclared_import_is_found_wherever_it_stands(tmp_path):
    source = tmp_path / "src" / "ft_plugin_x"
    source.mkdir(parents=True)
    code = "import json\nimport numpy.linalg\nif TYPE_CHECKING:\n    import torch\ndef f():\n    from pluggy import hooks\n"
    (source / "x.py").write_text(code, encoding="utf-8")
    package = Package(tmp_path, {"name": "ft-plugin-x", "dependencies": ["Pluggy>=1"]})
    assert undeclared(package) == ["numpy (numpy) in ft_plugin_x/x.py:2"]
