"""``python -m ftk_sdk.maintain catalog|extras|tables|docs|check|all``."""

from __future__ import annotations

import sys
from pathlib import Path

from ftk.problems import FtkError

from . import catalog
from .packages import root

Files = dict[Path, str]


def _catalog(top: Path) -> Files:
    data, notes = catalog.build(top)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    return {top / catalog.PATH: catalog.text(data)}


TASKS = {"catalog": _catalog}


def stale(top: Path, tasks: list[str]) -> Files:
    """Files whose generated text differs from what is on disk, with the text that they should have."""
    wanted: Files = {}
    for task in tasks:
        wanted |= TASKS[task](top)
    return {p: t for p, t in wanted.items() if not p.exists() or p.read_text(encoding="utf-8") != t}


def main(words: list[str]) -> int:
    if len(words) != 1 or words[0] not in (*TASKS, "check", "all"):
        print(f"usage: python -m ftk_sdk.maintain {'|'.join((*TASKS, 'check', 'all'))}", file=sys.stderr)
        return 2
    task = words[0]
    try:
        top = root()
        found = stale(top, list(TASKS) if task in ("check", "all") else [task])
    except FtkError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    for path, text in sorted(found.items()):
        if task != "check":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        print(f"{'stale' if task == 'check' else 'wrote'} {path.relative_to(top)}")
    if task == "check" and found:
        print("run: python -m ftk_sdk.maintain all", file=sys.stderr)
    return int(task == "check" and bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
