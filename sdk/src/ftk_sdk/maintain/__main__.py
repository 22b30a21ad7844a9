"""``python -m ftk_sdk.maintain catalog|extras|tables|docs|check|all``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from ftk.problems import FtkError

from . import catalog, extras, reference, tables
from .packages import root


def _catalog(top: Path) -> dict[Path, str]:
    data, notes = catalog.build(top)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    return {top / catalog.PATH: catalog.text(data)}


TASKS: dict[str, Callable[[Path], dict[Path, str]]] = {
    "catalog": _catalog,
    "extras": lambda top: {top / "pyproject.toml": extras.text(top)},
    "tables": tables.readmes,
    "docs": reference.pages,
}
WORDS = (*TASKS, "check", "all")


def stale(top: Path, tasks: list[str]) -> dict[Path, str]:
    """Files that differ from what they are generated from, with the text that they should have."""
    wanted = {path: text for task in tasks for path, text in TASKS[task](top).items()}
    return {p: t for p, t in sorted(wanted.items()) if not p.exists() or p.read_text(encoding="utf-8") != t}


def main(words: list[str]) -> int:
    if len(words) != 1 or words[0] not in WORDS:
        print(f"usage: python -m ftk_sdk.maintain {'|'.join(WORDS)}", file=sys.stderr)
        return 2
    checking = words[0] == "check"
    try:
        top = root()
        found = stale(top, list(TASKS) if words[0] in ("check", "all") else words)
    except FtkError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    for path, text in found.items():
        if not checking:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        print(f"{'stale' if checking else 'wrote'} {path.relative_to(top)}")
    if checking and found:
        print("run: python -m ftk_sdk.maintain all", file=sys.stderr)
    return int(checking and bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
