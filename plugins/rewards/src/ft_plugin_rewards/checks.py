"""Rules about the values of reward keys. Standard library only."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ftk.problems import Problem

from .config import RewardsConfig

if TYPE_CHECKING:
    from ftk.plan import Plan


def problems_of(plan: Plan) -> list[Problem]:
    config = plan.config[RewardsConfig]
    return [*_names(plan, config), *_values(config)] if plan.action == "train" else []


def _names(plan: Plan, config: RewardsConfig) -> Iterator[Problem]:
    names = config.reward_funcs or []
    if not names and not plan.of_kind("reward") and "addon:reward" not in plan:
        hint = "set reward_funcs: exact_answer, or the path of a function of yours: rewards.py:score"
        yield Problem("error", "no reward is named, and there is nothing to learn from", hint, "reward_funcs")
    for name in {name for name in names if names.count(name) > 1}:
        yield Problem("error", f"reward_funcs names {name!r} twice", "give it a weight instead", "reward_funcs")
    if config.reward_weights is not None and len(config.reward_weights) != len(names):
        message = f"reward_weights has {len(config.reward_weights)} numbers for {len(names)} reward_funcs"
        yield Problem("error", message, "give one for each", "reward_weights")
    for name in names:
        if ":" in name:
            yield from _file(name)


def _file(name: str) -> Iterator[Problem]:
    path, _, function = name.rpartition(":")
    if not path.endswith(".py") or not function.isidentifier():
        hint = "write it as file.py:function"
        yield Problem("error", f"reward_funcs: {name!r} names no function of a file", hint, "reward_funcs")
        return
    try:
        tree = ast.parse(Path(path).expanduser().read_text(encoding="utf-8"))
    except OSError as e:
        yield Problem("missing", f"reward_funcs: {path!r} cannot be read: {e.strerror}", "", "reward_funcs")
    except (SyntaxError, ValueError) as e:
        yield Problem("error", f"reward_funcs: {path!r} is no Python: {e}", "", "reward_funcs")
    else:
        functions = [node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
        assigned = [t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)]
        imported = any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in tree.body)
        if function not in functions + assigned and not imported:
            hint = f"it has {', '.join(functions)}" if functions else "it has no functions"
            yield Problem("error", f"reward_funcs: {path!r} has no function {function!r}", hint, "reward_funcs")


def _values(config: RewardsConfig) -> Iterator[Problem]:
    if config.reward_timeout < 0:
        yield Problem("error", f"reward_timeout={config.reward_timeout!r} is negative", "", "reward_timeout")
    if not all(map(math.isfinite, config.reward_weights or ())):
        yield Problem("error", f"reward_weights={config.reward_weights!r} are not all finite", "", "reward_weights")
    if config.rewards_length < 1:
        yield Problem("error", f"rewards_length={config.rewards_length!r} is not positive", "", "rewards_length")
    try:
        re.compile(config.rewards_format)
    except re.error as e:
        message = f"rewards_format={config.rewards_format!r} is no regular expression: {e}"
        yield Problem("error", message, "", "rewards_format")
