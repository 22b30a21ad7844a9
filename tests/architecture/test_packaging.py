"""All plugins have one skeleton and one version, and leave all tool configuration to the root."""

from __future__ import annotations

import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from ftk import __version__
from ftk_sdk.maintain.packages import find, root
from ftk_sdk.scaffold import KINDS

TOP = root()
PLUGINS = find(TOP, "plugins/*", "contrib/*")
EVERY = find(TOP, "kernel", "sdk", "plugins/*", "contrib/*")
FIRST_PARTY = {p.name for p in EVERY}
HERE = Version(__version__)
KERNEL = f"ftk-kernel<{HERE.major}.{HERE.minor + 1},>={HERE.major}.{HERE.minor}"
PROJECT = {"name", "version", "description", "readme", "license", "requires-python", "dependencies", "entry-points"}
VAGUE = {"utils", "util", "helpers", "helper", "misc", "common", "base", "core", "lib", "tools", "stuff"}

each_plugin = pytest.mark.parametrize("package", PLUGINS, ids=lambda p: p.folder.name)
each_package = pytest.mark.parametrize("package", EVERY, ids=lambda p: p.name)


def test_every_folder_is_a_distribution():
    folders = {path for pattern in ("plugins/*", "contrib/*") for path in TOP.glob(pattern) if path.is_dir()}
    without = sorted(
        str(path.relative_to(TOP)) for path in folders - {p.folder for p in PLUGINS} if any(path.iterdir())
    )
    assert without == [], "these have no pyproject.toml"


@each_plugin
def test_a_plugin_has_the_files_that_all_plugins_have(package):
    module = package.name.replace("-", "_")
    wanted = ["README.md", f"src/{module}/__init__.py", f"src/{module}/plugin.py"]
    if package.sections():
        wanted.append(f"src/{module}/config.py")
    absent = [name for name in wanted if not (package.folder / name).exists()]
    absent = [name for name in absent if not (name.endswith("config.py") and (package.folder / name[:-3]).is_dir())]
    assert absent == []
    assert list((package.folder / "tests").glob("test_*.py")), "it has no test"


@each_plugin
def test_a_plugin_holds_itself_to_the_contracts(package):
    tests = "".join(path.read_text(encoding="utf-8") for path in (package.folder / "tests").rglob("test_*.py"))
    # A pack of templates is held to its golden files, of which there are more than one conversation.
    kinds = {c.kind for c in package.components()} & set(KINDS) - {"template"}
    wanted = ["PluginContract", *(f"{kind.title().replace('-', '')}Contract" for kind in sorted(kinds))]
    assert [name for name in wanted if f"({name})" not in tests] == [], "no test subclasses these"


@each_plugin
def test_a_plugin_is_named_for_its_folder(package):
    kind = "plugin" if package.folder.parent.name == "plugins" else "contrib"
    name = package.folder.name
    assert package.name == f"ft-{kind}-{name}"
    assert package.entry_points("ftk.plugins") == {name: f"{package.name.replace('-', '_')}.plugin"}


@each_package
def test_the_project_table_holds_what_all_hold_and_no_more(package):
    allowed = PROJECT | {"optional-dependencies", "scripts"}
    assert set(package.project) <= allowed, f"not here: {set(package.project) - allowed}"
    assert set(package.project) >= PROJECT - {"entry-points"}
    assert package.project["description"] and not package.project["description"].endswith(".")
    assert package.project["license"] == "Apache-2.0"
    assert package.project["requires-python"] == ">=3.11"


@each_package
def test_first_party_distributions_share_one_version(package):
    assert package.version == __version__


@each_plugin
def test_a_plugin_names_the_kernels_it_works_with(package):
    specifiers = {r.name: str(r.specifier) for r in map(Requirement, package.dependencies)}
    assert f"ftk-kernel{specifiers.get('ftk-kernel', ' is not named')}" == KERNEL


@each_plugin
def test_siblings_are_pinned_and_others_have_a_floor(package):
    for need in map(Requirement, package.dependencies):
        if need.name in FIRST_PARTY - {"ftk-kernel"}:
            assert str(need.specifier) == f"=={__version__}", f"{need}: siblings are released together"
        else:
            assert any(s.operator in (">=", "~=", "==") for s in need.specifier), f"{need} has no floor"


@each_package
def test_tools_are_configured_at_the_root(package):
    data = tomllib.loads((package.folder / "pyproject.toml").read_text(encoding="utf-8"))
    assert data["build-system"] == {"requires": ["hatchling>=1.27"], "build-backend": "hatchling.build"}
    assert set(data["tool"]) <= {"hatch", "ftk"}, f"configure {set(data['tool'])} at the root"
    module = "ftk" if package.name == "ftk-kernel" else package.name.replace("-", "_")
    assert data["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [f"src/{module}"]


@each_package
def test_modules_are_named_for_what_they_do(package):
    vague = [str(p.relative_to(TOP)) for p in (package.folder / "src").rglob("*.py") if p.stem in VAGUE]
    assert vague == []


@each_package
def test_source_is_ascii_and_without_banners(package):
    for path in package.folder.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert text.isascii() or "tests" in path.parts, f"{path.relative_to(TOP)} has characters beyond ASCII"
        head = text[:400].lower()
        assert "copyright" not in head and "licensed under" not in head, (
            f"{path.relative_to(TOP)}: one LICENSE is enough"
        )
