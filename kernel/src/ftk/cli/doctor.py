"""``ftk doctor``."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import typer
from packaging.requirements import InvalidRequirement, Requirement

from ..discover import discover
from .options import Json, print_json

GiB = 1 << 30


def doctor(json: Json = False) -> None:
    """Look for what is wrong: quarantined plugins, unmet requirements, little disk. Exit code 1 if anything is."""
    installed = discover()
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
    }
    facts |= {"disk free (GiB)": round(shutil.disk_usage(Path.cwd()).free / GiB, 1), "memory (GiB)": _memory()}
    faults = [f"{p.dist}: {p.error}" for p in installed.plugins if p.error and not p.disabled]
    for p in installed.plugins:
        faults += _unmet(p.dist)
    if facts["disk free (GiB)"] < 5:
        faults.append("less than 5 GiB of disk is free; checkpoints are written beside the ones they replace")
    if json:
        print_json(facts | {"plugins": len(installed.usable), "faults": faults})
    else:
        for name, value in facts.items():
            typer.echo(f"{name}: {value}")
        typer.echo(f"plugins: {len(installed.usable)} usable of {len(installed.plugins)}")
        for fault in faults:
            typer.echo(f"fault: {fault}")
        typer.echo("nothing is wrong" if not faults else f"{len(faults)} faults")
    if faults:
        raise typer.Exit(1)


def _unmet(dist: str) -> list[str]:
    """Requirements of a distribution that what is installed does not meet."""
    faults = []
    for text in importlib.metadata.requires(dist) or []:
        try:
            need = Requirement(text)
        except InvalidRequirement:
            continue
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            have = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            faults.append(f"{dist} needs {need.name}: pip install '{need.name}{need.specifier}'")
            continue
        if not need.specifier.contains(have, prereleases=True):
            faults.append(
                f"{dist} needs {need.name}{need.specifier}, this is {have}: pip install '{need.name}{need.specifier}'"
            )
    return faults


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GiB, 1)
    except (ValueError, OSError, AttributeError):
        return None
