"""What the documentation shows is what happens: its code runs, its configs can be planned, its commands print what it says.

A fenced block means, by its language and first line:
    ``# file: NAME``   written to the page's folder, whatever the language
    python             executed, all of a page in one namespace; the hooks in it must exist with these arguments
    yaml               a whole config: it is planned, and may lack nothing but what is ``missing`` on this machine
    toml, json         parsed
    console            lines that start with ``$ `` are run in the page's folder, where examples/ is that of the
                       repository, and print what stands below them;
                       ``...`` stands for any text in a line, and on a line of its own for any lines
    anything else      not looked at (``sh``: commands that need a model, a network or some minutes)
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pluggy
import pytest

from ftk.component import resolve
from ftk.compose import compose
from ftk.discover import Installed, discover
from ftk.load import parse_yaml
from ftk.plan import infer_action, resolve_plan
from ftk.problems import ConfigError
from ftk.run import SPECS
from ftk.specs.declare import Declare, PlanPhase

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "concepts").glob("*.md")]
PAGES = sorted([*PAGES, *(ROOT / "docs" / "authors").glob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
FENCE = re.compile(r"^( *)(`{3,}) *([a-z]*)[^`]*$")
SITE = """
import site
from pathlib import Path
site.addsitedir(str(Path(__file__).parent))  # so that editable installs into this folder are found
"""


@dataclass(frozen=True)
class Block:
    language: str
    lines: list[str]
    place: str
    """Page and line, for messages."""
    number: int

    @property
    def file(self) -> str | None:
        found = re.match(r"(?:#|//) file: (\S+)$", self.lines[0]) if self.lines else None
        return found and found[1]

    @property
    def text(self) -> str:
        return "\n".join(self.lines[1:] if self.file else self.lines) + "\n"


def blocks(page: Path) -> Iterator[Block]:
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
    for number, line in lines:
        if opening := FENCE.match(line):
            indent, ticks, language = opening.groups()
            body = []
            for _, inner in lines:
                if inner.strip() == ticks:
                    break
                body.append(inner.removeprefix(indent))
            else:
                pytest.fail(f"{page}:{number}: the block is never closed")
            yield Block(language, body, f"{page.relative_to(ROOT)}:{number}", number)


class Reader:
    """Does what a page says, in a folder of its own."""

    def __init__(self, folder: Path, installed: Installed) -> None:
        self.folder, self.installed = folder, installed
        self.namespace: dict[str, object] = {"__name__": "page"}
        self.site = folder.parent / "site"
        self.site.mkdir()
        (self.site / "sitecustomize.py").write_text(SITE)

    def read(self, block: Block) -> None:
        if block.file:
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            source = "\n" * block.number + block.text  # so that a traceback shows the page's line
            exec(compile(source, block.place.rpartition(":")[0], "exec", dont_inherit=True), self.namespace)
        elif block.language == "yaml":
            self.plan(block)
        elif block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "json":
            json.loads(block.text)
        elif block.language == "console":
            for command, expected in commands(block):
                self.run(command, expected, block.place)

    def plan(self, block: Block) -> None:
        try:
            config, warnings = compose(
                parse_yaml(block.text, block.place), self.installed.index, self.installed.aliases()
            )
            resolve_plan(config, self.installed, infer_action(config), warnings=warnings)
        except ConfigError as e:
            pytest.fail(f"{block.place}: this config cannot be planned\n{e}")

    def run(self, command: str, expected: str | None, place: str) -> None:
        """What a reader's ``pip install`` does to an environment happens in the page's own ``site``."""
        settings = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(self.site),
            "PIP_TARGET": str(self.site),
            "PIP_NO_DEPS": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip reads this one as a switch of build isolation itself
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "HF_HUB_OFFLINE": "1",
            "COLUMNS": "110",
            "NO_COLOR": "1",
        }
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env={k: v for k, v in os.environ.items() if not k.startswith(("FTK_", "PYTEST_"))} | settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        if expected is None:
            assert done.returncode == 0, f"{place}: $ {command}\nfails with {done.returncode}:\n{done.stdout}"
        else:
            assert matches(expected, done.stdout), f"{place}: $ {command}\nprints:\n{done.stdout}\nnot:\n{expected}"

    def check_hooks(self) -> None:
        """Whatever is marked as a hook is one, with these arguments."""
        manager = pluggy.PluginManager("ftk")
        for spec in (Declare, PlanPhase, *SPECS):
            manager.add_hookspecs(spec)
        for plugin in self.installed.usable:
            for target in getattr(plugin.module, "ftk_hookspecs", list)():
                manager.add_hookspecs(resolve(target))
        marked = {}
        for name, value in self.namespace.items():
            if isinstance(value, type) and any(hasattr(member, "ftk_spec") for member in vars(value).values()):
                if not any(hasattr(manager.hook, member) for member in vars(value)):  # shown, not brought
                    manager.add_hookspecs(value)
            elif isinstance(value, type) and any(hasattr(member, "ftk_impl") for member in vars(value).values()):
                manager.register(object.__new__(value), name=name)
            elif hasattr(value, "ftk_impl"):
                marked[name] = value
        manager.register(types.SimpleNamespace(**marked), name="functions")
        manager.check_pending()


def commands(block: Block) -> Iterator[tuple[str, str | None]]:
    """Each command with what is shown below it; ``None`` where nothing is."""
    command, shown = "", []
    for line in block.lines:
        if line.startswith("$ "):
            if command:
                yield command, "\n".join(shown) if shown else None
            command, shown = line[2:], []
        elif command.endswith("\\") and not shown:
            command += f"\n{line}"
        else:
            assert command, f"{block.place}: a console block begins with a command"
            shown.append(line)
    yield command, "\n".join(shown) if shown else None


def matches(expected: str, printed: str) -> bool:
    pattern = ""
    for line in expected.strip("\n").splitlines():
        line = line.rstrip()
        pattern += r"(?:.*\n)*?" if line == "..." else r".*".join(map(re.escape, line.split("..."))) + r"\n"
    return re.fullmatch(pattern, "".join(f"{line.rstrip()}\n" for line in printed.strip("\n").splitlines())) is not None


@pytest.fixture(scope="module")
def everything() -> Installed:
    return discover()


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_code_of_a_page_does_what_the_page_says(page, everything, tmp_path, monkeypatch):
    folder = tmp_path / "page"
    folder.mkdir()
    (folder / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(folder)
    reader = Reader(folder, everything)
    for block in blocks(page):
        reader.read(block)
    reader.check_hooks()


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_page_names_no_plugin_command_or_hook_that_is_not_there(page, everything):
    text = page.read_text(encoding="utf-8")
    catalog = everything.index.catalog
    shipped = {path.parent.name for path in ROOT.glob("*/*/pyproject.toml")}
    dists = (
        {f"ft-plugin-{n}" for n in shipped}
        | {f"ft-contrib-{n}" for n in shipped}
        | {e.dist for e in catalog.keys.values()}
    )
    dists |= {*catalog.components.values(), *catalog.commands.values(), "ft-plugin-x", "ft-contrib-x"}
    for other in (page.read_text(encoding="utf-8") for page in PAGES):  # plugins that a page writes
        dists |= set(re.findall(r'^name = "(ft-[a-z0-9-]+)"$', other, flags=re.M))
        dists |= {f"ft-plugin-{name}" for name in re.findall(r"^\$ ftk new [a-z]+ ([a-z0-9-]+)", other, flags=re.M)}
    strangers = set(re.findall(r"\bft-(?:plugin|contrib)-[a-z0-9]+(?:-[a-z0-9]+)*", text)) - dists
    assert not strangers, f"no such plugin: {', '.join(sorted(strangers))}"
    commands_there = set(re.findall(r"^  ([a-z-]+)  ", help_text(), flags=re.M))
    unknown = set(re.findall(r"`ftk ([a-z-]+)", text)) - commands_there
    assert not unknown, f"no such command: {', '.join(sorted(unknown))}"
    own = set(re.findall(r"def (ftk_\w+)", text))
    hooks = {name for spec in (Declare, PlanPhase, *SPECS) for name in vars(spec) if name.startswith("ftk_")}
    for plugin in everything.usable:
        hooks |= {n for t in getattr(plugin.module, "ftk_hookspecs", list)() for n in vars(resolve(t))}
    unknown = set(re.findall(r"\bftk_[a-z_]*[a-z]\b", text)) - hooks - own - {"ftk_sdk", "ftk_x"}
    assert not unknown, f"no such hook: {', '.join(sorted(unknown))}"


def help_text() -> str:
    done = subprocess.run([sys.executable, "-m", "ftk.cli.main", "--help"], capture_output=True, text=True)
    return done.stdout


def test_output_is_compared_line_by_line_with_gaps():
    printed = "one\ntwo: 12.5 s\nthree\nfour\n"
    assert matches("one\ntwo: ... s\n...\nfour", printed)
    assert matches("one\n...", printed)
    assert not matches("one\nfour", printed)
    assert not matches("two: ... s", printed)
