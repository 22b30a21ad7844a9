"""A real run for tests: real config, real plan, real hooks; no YAML file, no hub, no GPU."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
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


def short_training(folder: Path, rows: Sequence[Mapping[str, Any]], **keys: Any) -> dict[str, Any]:
    """Keys of three fast steps on ``rows``, with all files below ``folder``, but for what ``keys`` say otherwise."""
    folder.mkdir(exist_ok=True)
    (folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    return {
        "finetuning_type": "full",
        "template": "chatml",
        "dataset": str(folder / "rows.json"),
        "output_dir": str(folder / "out"),
        "per_device_train_batch_size": 4,
        "max_steps": 3,
        "logging_steps": 1,
        "learning_rate": 5e-3,
        "lr_scheduler_type": "constant",
        "save_strategy": "no",
    } | keys


def log_of(output_dir: Path) -> list[dict[str, Any]]:
    """What a run logged, entry by entry."""
    lines = (output_dir / "trainer_log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
