"""Which components cannot be in one plan: rules that are data on the components."""

from __future__ import annotations

import importlib.util

from .component import Component
from .kinds import KINDS, is_exclusive
from .problems import Problem


def matches(pattern: str, cid: str) -> bool:
    return pattern == cid or (pattern.endswith(":*") and cid.startswith(pattern[:-1]))


def conflicts(components: dict[str, Component], reasons: dict[str, str]) -> list[Problem]:
    problems = []
    for kind in KINDS:
        rivals = sorted(cid for cid, c in components.items() if c.kind == kind)
        if is_exclusive(kind) and len(rivals) > 1:
            named = " and ".join(f"{cid} ({reasons[cid]})" for cid in rivals)
            problems.append(Problem("error", f"a run has one {kind}, but {named} are selected", "unset all but one"))
    for c in components.values():
        for wanted in c.requires:
            if not any(matches(wanted, cid) for cid in components):
                problems.append(
                    Problem("error", f"{c.id} ({reasons[c.id]}) requires {wanted}, which this run does not use")
                )
        for unwanted in c.conflicts:
            for cid in components:
                if cid != c.id and matches(unwanted, cid):
                    message = f"{c.id} ({reasons[c.id]}) cannot run together with {cid} ({reasons[cid]})"
                    problems.append(Problem("error", message, "unset one of the two"))
    return problems


def absent_modules(components: dict[str, Component]) -> list[Problem]:
    return [
        Problem(
            "error", f"{c.id} needs the package {module.replace('_', '-')!r}", f"pip install {module.replace('_', '-')}"
        )
        for c in components.values()
        for module in c.needs
        if importlib.util.find_spec(module) is None
    ]
