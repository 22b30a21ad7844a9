"""Hook calls by kind: collect, merge, exactly one. The only module that touches pluggy's callers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pluggy

from .problems import RunError


def collect(manager: pluggy.PluginManager, hook: str, **arguments: Any) -> list[tuple[str, Any]]:
    """(component id, result) of every implementation, in plan order; ``None`` results are left out."""
    caller = getattr(manager.hook, hook)
    out = []
    with noted(manager, hook):
        for impl in caller.get_hookimpls():
            result = impl.function(*(arguments[name] for name in impl.argnames))
            if result is not None:
                out.append((impl.plugin_name, result))
    return out


def merge(manager: pluggy.PluginManager, hook: str, into: str, **arguments: Any) -> dict[str, Any]:
    """The union of dicts. Two components setting one key is an error that names both."""
    merged: dict[str, Any] = {}
    owner: dict[str, str] = {}
    for name, part in collect(manager, hook, **arguments):
        for key, value in part.items():
            if key in owner:
                raise RunError(f"{owner[key]} and {name} both set {key!r} of {into}", "a run can use only one of them")
            owner[key] = name
            merged[key] = value
    return merged


def single(manager: pluggy.PluginManager, hook: str, **arguments: Any) -> Any:
    """The provider's result after all wrappers; ``None`` when nobody provides it."""
    with noted(manager, hook):
        return getattr(manager.hook, hook)(**arguments)


def named(manager: pluggy.PluginManager, hook: str, component_id: str, **arguments: Any) -> Any:
    """The result of one component alone."""
    component = manager.get_plugin(component_id)
    if component is None:
        raise RunError(f"this plan holds no {component_id}", "see the components that 'ftk plan' lists")
    others = [p for p in manager.get_plugins() if p is not component]
    with noted(manager, hook):
        return manager.subset_hook_caller(hook, others)(**arguments)


def check_providers(manager: pluggy.PluginManager) -> None:
    """One provider for each one-provider hook, and no wrapper around a collecting one: the plan's backstop."""
    dispatched = {"ftk_open_source", "ftk_formatter"}
    first_answer = {"ftk_locate_model"}  # asked of each hub in turn
    for name, caller in vars(manager.hook).items():
        if not isinstance(caller, pluggy.HookCaller) or caller.spec is None:
            continue
        impls = caller.get_hookimpls()
        providers = [i.plugin_name for i in impls if not (i.wrapper or i.hookwrapper)]
        wrappers = [i.plugin_name for i in impls if i.wrapper or i.hookwrapper]
        if caller.spec.opts["firstresult"] and len(providers) > 1 and name not in dispatched | first_answer:
            raise RunError(
                f"{' and '.join(providers)} both provide {name}", "a plan needs exactly one; unset one of them"
            )
        if name in dispatched and wrappers:
            raise RunError(f"{wrappers[0]} wraps {name}, which is called on one component alone and has no wrappers")
        if not caller.spec.opts["firstresult"] and wrappers:
            raise RunError(
                f"{wrappers[0]} wraps {name}, whose results are collected; only one-provider hooks have wrappers"
            )


@contextlib.contextmanager
def noted(manager: pluggy.PluginManager, hook: str) -> Iterator[None]:
    """Say on an exception which component was running: the innermost, when hooks call hooks."""
    try:
        yield
    except BaseException as e:
        if any(note.startswith("while ") for note in getattr(e, "__notes__", [])):
            raise
        code = {impl.function.__code__: impl.plugin_name for impl in getattr(manager.hook, hook).get_hookimpls()}
        frame = e.__traceback__
        while frame is not None:
            if (who := code.get(frame.tb_frame.f_code)) is not None:
                e.add_note(f"while {who} ran {hook}")
                break
            frame = frame.tb_next
        raise
