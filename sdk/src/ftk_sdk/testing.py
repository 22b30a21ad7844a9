"""A real run for tests: real config, real plan, real hooks; no YAML file, no hub, no GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from ftk.compose import compose
from ftk.discover import Installed, discover
from ftk.kinds import Action
from ftk.load import Raw
from ftk.plan import Plan, resolve_plan
from ftk.problems import Origin
from ftk.run import Run


@cache
def installed() -> Installed:
    """Everything installed, discovered once per process."""
    return discover()


def make_plan(
    keys: Mapping[str, Any] | None = None,
    *,
    components: Sequence[str] | None = None,
    action: Action = "train",
    plugins: Installed | None = None,
) -> Plan:
    """A plan of ``keys``, as if they were a YAML file. With ``components``: of exactly these, selected by nothing."""
    found = plugins or installed()
    raw = {key: Raw(value, Origin("test")) for key, value in (keys or {}).items()}
    config, warnings = compose(raw, found.index, found.aliases())
    return resolve_plan(config, found, action, components=components, warnings=warnings)


def make_run(
    keys: Mapping[str, Any] | None = None,
    *,
    components: Sequence[str] | None = None,
    action: Action = "train",
    plugins: Installed | None = None,
) -> Run:
    """A run of ``make_plan``: the targets of its components are imported and registered."""
    return Run(make_plan(keys, components=components, action=action, plugins=plugins))
