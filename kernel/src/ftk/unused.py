"""Which sections a plan uses, and which keys the user set in vain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .kinds import belongs
from .problems import Problem
from .section import meta

if TYPE_CHECKING:
    from .metadata import Plugin
    from .plan import Plan
    from .run import Run


def active_sections(plan: Plan) -> set[type]:
    """Sections that a planned component reads.

    A component reads the section of its name (or ``section=``). A section without components of its own is shared:
    active with any component of its distribution, or of one that depends on it.
    """
    rows = {p.dist: p for p in plan.installed.usable}
    needed = _with_dependencies({c.plugin for c in plan.components}, rows)
    planned = {(c.plugin, c.section_name) for c in plan.components}
    out = set()
    for cls, dist in plan.installed.index.sections().items():
        row = rows.get(dist)
        own = {c.section_name for c in row.components} if row else set()
        name = meta(cls).name
        if row is None or (dist, name) in planned or (name not in own and dist in needed):
            out.add(cls)
    return out


def active_keys(plan: Plan, *, late: bool) -> list[str]:
    """Keys of active sections; without the late ones unless asked for."""
    sections = [cls for cls in active_sections(plan) if late or not meta(cls).late]
    return [key for cls in sections for key in cls.__dataclass_fields__]  # type: ignore[attr-defined]


def report_unread(run: Run) -> None:
    """Warn of keys that the user set and that nothing has read; each once.

    Trainers call it when everything is built, before the first step; the kernel calls it when training is over.
    """
    for key in run.config.unread(active_keys(run.plan, late=False)):
        run.logger.warning("%s: %r is set, but nothing in this run reads it", run.config.origin(key), key)
        run.config.read(key)


def inactive_keys(plan: Plan) -> list[Problem]:
    """Warnings for keys of installed plugins that this run does not use, where they differ from their default."""
    index, config = plan.installed.index, plan.config
    active = active_sections(plan)
    elsewhere = {cls for cls in index.sections() if _for_another_action(cls, plan)}
    problems = []
    for name in index:
        key = index[name]
        if key.section in active or key.section in elsewhere or not config.was_set(name):
            continue
        value = config.value(name)
        if value != key.default and (value or key.default):  # not another way to write nothing: false for null
            problems.append(Problem("warning", f"{name!r} has no effect: this run does not use {key.dist}", "", name))
    return problems


def _for_another_action(cls: type, plan: Plan) -> bool:
    """Whether only components that this action never holds read the section: ``temperature`` in a training run."""
    row = next((p for p in plan.installed.usable if cls in p.sections), None)
    kinds = [c.kind for c in row.components if c.section_name == meta(cls).name] if row else []
    kinds = kinds or ([c.kind for c in row.components] if row else [])
    return bool(kinds) and not any(belongs(kind, plan.action) for kind in kinds)


def _with_dependencies(dists: set[str], rows: dict[str, Plugin]) -> set[str]:
    seen: set[str] = set()
    todo = list(dists)
    while todo:
        dist = todo.pop()
        if dist not in seen and dist in rows:
            seen.add(dist)
            todo += rows[dist].requires
    return seen
