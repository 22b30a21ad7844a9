"""Resolve a config to the exact, ordered components that will run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .component import Component
from .compose import Config, switched_on
from .conflicts import absent_modules, conflicts, matches
from .discover import Installed
from .kinds import REQUIRED, SELECTORS, Action, belongs
from .metadata import Plugin
from .order import in_order
from .problems import ConfigError, Problem
from .section import meta
from .settings import RunConfig
from .unused import inactive_keys


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do it with. Making one imports nothing heavy."""

    config: Config
    action: Action
    components: tuple[Component, ...]
    """In the order in which they run."""
    installed: Installed
    problems: tuple[Problem, ...] = ()
    """Warnings, and what is missing on this machine."""
    reasons: tuple[tuple[str, str], ...] = ()
    """Component id -> what in the config asked for it."""

    def __contains__(self, component_id: str) -> bool:
        return any(matches(component_id, c.id) for c in self.components)

    def of_kind(self, kind: str) -> list[Component]:
        return [c for c in self.components if c.kind == kind]

    def plugins(self) -> list[Plugin]:
        """The plugins that components come from, in plan order of their first component."""
        rows = {p.dist: p for p in self.installed.usable}
        return [rows[dist] for dist in dict.fromkeys(c.plugin for c in self.components) if dist in rows]

    def extended(self) -> list[Plugin]:
        """Those plugins and all that they depend on: whose hooks the components may implement."""
        rows = {p.dist: p for p in self.installed.usable}
        found = {p.dist: p for p in self.plugins()}
        todo = list(found.values())
        while todo:
            more = [rows[dist] for dist in todo.pop(0).requires if dist in rows and dist not in found]
            found |= {p.dist: p for p in more}
            todo += more
        return list(found.values())


def infer_action(config: Config) -> Action:
    """Export when the config names where to export to and nothing to train on, else train."""
    keys = [k for k in ("export_dir", "dataset") if config.was_set(k) and config.value(k)]
    return "export" if keys == ["export_dir"] and not config.was_set("do_train") else "train"


def resolve_plan(
    config: Config,
    installed: Installed,
    action: Action,
    *,
    components: Sequence[str] | None = None,
    warnings: Iterable[Problem] = (),
) -> Plan:
    """Pick components, check them, order them. Raises ConfigError with every error found.

    warnings: what composing found, errors too.
    components: ids to hold, exactly these, instead of what the config selects (for tests of parts).
    """
    chosen = _Chosen(installed)
    if components is None:
        _select(chosen, config, installed, action)
    else:
        for cid in components:
            chosen.take(cid, "asked for by name")
    problems = [*warnings, *chosen.problems]
    if not chosen.problems:
        problems += conflicts(chosen.components, chosen.reasons)
        problems += absent_modules(chosen.components)
    try:
        ordered = in_order(chosen.components.values())
    except ValueError as e:
        problems.append(Problem("error", str(e)))
        ordered = ()
    plan = Plan(config, action, ordered, installed, (), tuple(chosen.reasons.items()))
    if not any(p.level == "error" for p in problems):
        problems += [p for plugin in plan.plugins() for p in _checks(plugin, plan)]
        if components is None:
            problems += inactive_keys(plan)
    problems = [_placed(p, config) for p in problems]
    if any(p.level == "error" for p in problems):
        raise ConfigError(problems)
    return replace(plan, problems=tuple(dict.fromkeys(problems)))


class _Chosen:
    """Components taken so far, and what was wrong with asking for the others."""

    def __init__(self, installed: Installed) -> None:
        self.installed = installed
        self.offered = installed.offered()
        self.components: dict[str, Component] = {}
        self.reasons: dict[str, str] = {}
        self.problems: list[Problem] = []
        self.kinds: set[str] = set()
        """Kinds that something was asked for of, whether it could be had or not."""

    def take(self, cid: str, reason: str, key: str = "") -> None:
        self.kinds.add(cid.partition(":")[0])
        if cid in self.offered:
            self.components.setdefault(cid, self.offered[cid])
            self.reasons.setdefault(cid, reason)
        else:
            self.problems.append(Problem("error", *self._explain(cid, reason), key=key))

    def _explain(self, cid: str, reason: str) -> tuple[str, str]:
        import difflib  # only on the way to an error

        index = self.installed.index
        owner = index.catalog.components.get(cid)
        if owner in index.broken:
            return f"{cid} ({reason}) is provided by {owner}, which is installed but cannot be used", index.broken[
                owner
            ]
        for plugin in self.installed.plugins:  # a quarantined stranger whose name tells what it offers
            if plugin.error and cid.partition(":")[2] == plugin.name:
                return (
                    f"{cid} ({reason}) is provided by {plugin.dist}, which is installed but cannot be used",
                    plugin.error,
                )
        if owner is not None:
            return f"{cid} ({reason}) is provided by {owner}, which is not installed", f"pip install {owner}"
        kind, _, name = cid.partition(":")
        here = {c.name for c in self.offered.values() if c.kind == kind}
        absent = {c.partition(":")[2]: d for c, d in index.catalog.components.items() if c.startswith(f"{kind}:")}
        near = difflib.get_close_matches(name, [*here, *absent], n=1, cutoff=0.6)
        if near:
            hint = f"did you mean {near[0]!r}?" + ("" if near[0] in here else f" ({absent[near[0]]}, not installed)")
        else:
            hint = f"installed: {', '.join(sorted(here)) or 'none'}"
        return f"no plugin offers {cid} ({reason})", hint


def _select(chosen: _Chosen, config: Config, installed: Installed, action: Action) -> None:
    """Take what selectors, switches, values and defaults ask for, in this order."""
    selectors = dict(SELECTORS)
    for plugin in installed.usable:
        for cls in plugin.sections:
            selectors |= meta(cls).selects
    for key, kind in selectors.items():
        value = config.read(key)
        if belongs(kind, action) and value is not None:
            chosen.take(f"{kind}:{value}", f"{key}: {value}", key)
    for plugin in installed.usable:
        for cls in plugin.sections:
            if not switched_on(cls, config):
                continue
            switch = meta(cls).enabled_by or ""
            for c in plugin.components:
                if c.section_name == meta(cls).name and belongs(c.kind, action, c.requires):
                    chosen.take(c.id, f"{switch}: {config.value(switch)}", switch)
    for plugin in installed.usable:
        for cid in _asked_by(plugin, config, chosen):
            if belongs(cid.partition(":")[0], action, getattr(chosen.offered.get(cid), "requires", ())):
                chosen.take(cid, f"asked for by {plugin.dist}")
    taken = set(chosen.kinds)  # as they are before defaults: one kind may have several
    for c in chosen.offered.values():
        if c.default and c.kind not in taken and belongs(c.kind, action):
            chosen.take(c.id, "default")
    predictor = ("predictor",) if action == "train" and config[RunConfig].do_predict else ()
    for kind in (*REQUIRED[action], *predictor):
        if kind not in chosen.kinds:
            message = f"to {action}, a plan needs one {kind}, and none is installed or selected"
            chosen.problems.append(Problem("error", message, _how_to_get(kind, installed)))


def _how_to_get(kind: str, installed: Installed) -> str:
    """The switch of an installed component of the kind, or else a distribution that has one."""
    for plugin in installed.usable:
        for cls in plugin.sections:
            switch = meta(cls).enabled_by
            if switch and any(c.kind == kind and c.section_name == meta(cls).name for c in plugin.components):
                return f"set {switch}"
    owners = sorted({d for cid, d in installed.index.catalog.components.items() if cid.startswith(f"{kind}:")})
    return f"pip install {owners[0]}" if owners else ""


def _asked_by(plugin: Plugin, config: Config, chosen: _Chosen) -> list[str]:
    hook = getattr(plugin.module, "ftk_select", None)
    if hook is None:
        return []
    try:
        return list(hook(config))
    except Exception as e:
        chosen.problems.append(Problem("error", f"{plugin.dist} failed in ftk_select: {type(e).__name__}: {e}"))
        return []


def _checks(plugin: Plugin, plan: Plan) -> list[Problem]:
    hook = getattr(plugin.module, "ftk_check", None)
    if hook is None:
        return []
    try:
        return list(hook(plan))
    except Exception as e:
        return [Problem("error", f"{plugin.dist} failed in ftk_check: {type(e).__name__}: {e}")]


def _placed(problem: Problem, config: Config) -> Problem:
    if problem.origin is None and problem.key:
        return replace(problem, origin=config.origin(problem.key))
    return problem
