"""Rules about the shared keys, for the planning hooks of plugins that load adapters. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

from ftk.plan import Plan
from ftk.problems import Problem
from ftk.settings import RunConfig

from .config import AdapterConfig

FILE = "adapter_config.json"


def is_local(name: str) -> bool:
    """Whether the name means a folder rather than a hub id, which is ``name`` or ``owner/name``."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name or Path(name).exists()


def check_adapters(plan: Plan) -> list[Problem]:
    config = plan.config[AdapterConfig]
    names = config.adapter_name_or_path or []
    problems = []
    for name in names:
        folder = Path(name).expanduser() / (config.adapter_folder or "")
        if is_local(name) and not (folder / FILE).is_file():
            hint = "train it first, or correct adapter_name_or_path"
            problems.append(
                Problem(
                    "missing", f"no adapter at {str(folder)!r}: it holds no {FILE}", hint, key="adapter_name_or_path"
                )
            )
    merges = len(names) > 1 or (names and config.create_new_adapter and plan.action == "train")
    if merges and plan.of_kind("quantizer"):
        message = "adapter_name_or_path: these adapters would have to be merged into quantised weights"
        problems.append(
            Problem(
                "error", message, "merge them first with 'ftk export', or name one adapter", key="adapter_name_or_path"
            )
        )
    return problems


def adapters_after(plan: Plan) -> dict[str, object]:
    """``ftk_hand_on`` of a plan that trains an adapter: the earlier ones that it keeps, and its own."""
    if plan.action != "train":
        return {}
    config = plan.config[AdapterConfig]
    earlier = list(config.adapter_name_or_path or ())
    kept = earlier if config.create_new_adapter else earlier[:-1]
    return {"adapter_name_or_path": [*kept, plan.config[RunConfig].output_dir]}
