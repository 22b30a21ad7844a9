"""Links between the files of the repository lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SKIPPED = {".venv", ".git", "output", "node_modules", "build", "dist"}
FILES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part in SKIPPED or part.startswith(".") for part in path.relative_to(ROOT).parts)
)
LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$", re.M)


def prose(path: Path) -> str:
    """The text without its code."""
    text = re.sub(r"^( *)(`{3,}).*?^ *\2 *$", "", path.read_text(encoding="utf-8"), flags=re.S | re.M)
    return re.sub(r"`[^`\n]*`", "code", text)


def anchors(path: Path) -> set[str]:
    """Anchors of headings, made as GitHub makes them."""
    text = re.sub(r"^( *)(`{3,}).*?^ *\2 *$", "", path.read_text(encoding="utf-8"), flags=re.S | re.M)
    out = set()
    for title in re.findall(r"^#+ +(.+?) *$", text, flags=re.M):
        title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
        slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        count = sum(1 for a in out if a == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", a))
        out.add(f"{slug}-{count}" if count else slug)
    return out


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_links_resolve(path):
    broken = []
    for first, second in LINK.findall(prose(path)):
        target = first or second
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists():
            broken.append(target)
        elif anchor and file.suffix == ".md" and anchor not in anchors(file):
            broken.append(f"{target} (no such heading)")
    assert not broken, f"{path.relative_to(ROOT)} links to {', '.join(broken)}"
