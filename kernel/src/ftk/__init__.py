"""ftk: a plugin microkernel for fine-tuning language models.

The names below are all that a plugin needs. They are imported on first use, so that ``ftk --help`` stays fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .aliases import Alias
    from .component import Component
    from .markers import hookimpl, hookspec
    from .problems import ConfigError, FtkError, Problem, RowError, RunError
    from .section import section

__all__ = [
    "Alias",
    "Component",
    "ConfigError",
    "FtkError",
    "Problem",
    "RowError",
    "RunError",
    "hookimpl",
    "hookspec",
    "section",
]
__version__ = "0.1.0"

_HOME = {
    "Alias": "aliases",
    "Component": "component",
    "hookimpl": "markers",
    "hookspec": "markers",
    "section": "section",
} | dict.fromkeys(("ConfigError", "FtkError", "Problem", "RowError", "RunError"), "problems")


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'ftk' has no attribute {name!r}")
    # ``section`` is both a function and the module that holds it: asked for from the package, it is the function.
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
