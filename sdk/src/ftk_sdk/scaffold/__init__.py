"""``ftk new``: a distribution of a plugin that passes its own tests as it is."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from ftk.catalog import load_catalog
from ftk.problems import ConfigError

from .kinds import KINDS, Skeleton

SKELETONS = Path(__file__).parent / "skeletons"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def new(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"What it offers: {', '.join(KINDS)}.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What users will write: my-optimizer.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to make it in.")] = Path(),
    ci: Annotated[bool, typer.Option("--ci", help="Add a workflow that runs its tests on GitHub.")] = False,
) -> None:
    """Write a new plugin: a distribution with one component, its keys, and tests that pass."""
    folder = write(kind, name, output, ci=ci)
    typer.echo(f"wrote {folder}; next: pip install -e '{folder}[test]' && pytest {folder}")


def write(kind: str, name: str, output: Path, *, ci: bool = False) -> Path:
    """Write the folder ``ft-plugin-NAME`` whole or not at all. Raises ConfigError for a name or place it cannot use."""
    if kind not in KINDS:
        raise ConfigError.single(f"no kind {kind!r} can be written", f"choose one of {', '.join(KINDS)}")
    if not _NAME.fullmatch(name):
        raise ConfigError.single(f"{name!r} is not a name", "small letters and digits, with dashes between: my-plugin")
    if owner := load_catalog().components.get(f"{kind}:{name}"):
        raise ConfigError.single(f"{kind}:{name} belongs to {owner}", "choose another name")
    folder = output / f"ft-plugin-{name}"
    if folder.exists():
        raise ConfigError.single(f"{folder} exists", "choose another name, or another --output")
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix=".new-") as made:
        for path, text in files(KINDS[kind], kind, name, ci=ci).items():
            (Path(made) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(made) / path).write_text(text, encoding="utf-8")
        os.replace(made, folder)
    return folder


def files(skeleton: Skeleton, kind: str, name: str, *, ci: bool) -> dict[str, str]:
    """Path in the distribution -> text."""
    snake, pascal = name.replace("-", "_"), "".join(part.capitalize() for part in name.split("-"))

    def filled(text: str) -> str:
        text = text.replace("skeleton-name", name).replace("skeleton_name", snake).replace("SkeletonName", pascal)
        return text.replace("SUMMARY", skeleton.summary).replace("DEPENDENCIES", _array(skeleton.dependencies))

    out = {"pyproject.toml": filled((SKELETONS / "pyproject.toml.in").read_text(encoding="utf-8"))}
    folder = SKELETONS / kind.replace("-", "_")
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in (".py", ".md", ".toml"):
            inside = path.relative_to(folder).as_posix()
            place = {"README.md": "README.md", "test.py": f"tests/test_{snake}.py"}.get(inside)
            out[place or filled(f"src/ft_plugin_skeleton_name/{inside}")] = filled(path.read_text(encoding="utf-8"))
    if ci:
        out[".github/workflows/test.yml"] = (SKELETONS / "test.yml").read_text(encoding="utf-8")
    return out


def _array(items: tuple[str, ...]) -> str:
    return "[" + ", ".join(f'"{item}"' for item in items) + "]"
