"""plan.json: what a run was made of, so that it can be compared, resumed and replayed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from . import __version__
from .plan import Plan
from .problems import ConfigError, Problem
from .unused import active_keys

FILE = "plan.json"


def describe(plan: Plan) -> dict[str, Any]:
    """The plan as JSON: what the user set, what that made effective, and who does it."""
    config = plan.config
    components = [{"id": c.id, "dist": c.plugin, "version": c.version} for c in plan.components]
    given = config.dump()
    effective = {
        key: config.value(key)
        for key in sorted(active_keys(plan, late=True))
        if key not in given.keys() | config.secrets
    }
    return {
        "ftk": __version__,
        "action": plan.action,
        "config": given,
        "defaults": effective,
        "components": components,
        "hash": fingerprint([given, effective, components]),
    }


def fingerprint(value: object) -> str:
    """A short hash of anything that JSON can hold."""
    text = json.dumps(value, sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def claim(plan: Plan, output_dir: Path, *, overwrite: bool) -> None:
    """Write the plan into the run's folder, keeping the earlier run's under ``previous``.

    Raises ConfigError when the folder holds files that no run of ours wrote, so that nobody's work is mixed with ours.
    Of several processes the first does so: the others would take its files for somebody else's.
    """
    if os.environ.get("RANK", "0") != "0":
        return
    earlier = read(output_dir)
    if (
        earlier is None
        and not overwrite
        and output_dir.exists()
        and (not output_dir.is_dir() or any(output_dir.iterdir()))
    ):
        hint = "choose another output_dir, or set overwrite_output_dir: true"
        raise _refused(plan, f"output_dir {str(output_dir)!r} is not empty, and ftk did not write it", hint)
    new = describe(plan)
    if earlier is not None and not overwrite:
        new["previous"] = {key: value for key, value in earlier.items() if key != "previous"}
    try:
        write_json(output_dir / FILE, new)
    except OSError as e:
        raise _refused(
            plan, f"cannot write to output_dir {str(output_dir)!r}: {e.strerror}", "choose another output_dir"
        ) from None


def _refused(plan: Plan, message: str, hint: str) -> ConfigError:
    return ConfigError([Problem("error", message, hint, "output_dir", plan.config.origin("output_dir"))])


def read(output_dir: Path) -> dict[str, Any] | None:
    """The plan of an earlier run in the folder, if ftk wrote one."""
    try:
        return json.loads((output_dir / FILE).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None


def record(output_dir: Path, key: str, value: object) -> None:
    """Add something learnt during the run, such as data fingerprints, to the folder's plan."""
    write_json(output_dir / FILE, (read(output_dir) or {}) | {key: value})


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What changed between two plans, one line each."""
    out = []
    before, after = ({**p.get("defaults", {}), **p.get("config", {})} for p in (old, new))
    for key in sorted(before.keys() | after.keys()):
        was, now = (json.dumps(c.get(key), default=str) for c in (before, after))
        if was != now:
            out.append(f"{key}: {was} -> {now}")
    versions = [{c["id"]: f"{c['dist']} {c['version']}" for c in p.get("components", [])} for p in (old, new)]
    for cid in sorted(versions[0].keys() | versions[1].keys()):
        first, second = versions[0].get(cid, "absent"), versions[1].get(cid, "absent")
        if first != second:
            out.append(f"{cid}: {first} -> {second}")
    return out


def write_json(path: Path, value: object) -> None:
    """Write a JSON file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as f:
            json.dump(value, f, indent=2, ensure_ascii=False, default=str)
            f.write("\n")
            f.flush()
            os.fsync(f.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
