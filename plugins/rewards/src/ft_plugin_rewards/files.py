"""Rewards from files of the user: ``rewards.py:score``."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from ftk.markers import hookimpl
from ftk.problems import RunError
from ftk.run import Run

from .config import RewardsConfig
from .specs import Reward


class RewardFiles:
    @hookimpl
    def ftk_rewards(self, run: Run) -> dict[str, Reward]:
        return {name: function_of(name) for name in run.config[RewardsConfig].reward_funcs or () if ":" in name}


def function_of(name: str) -> Reward:
    """Import ``file.py:function``. Raises RunError for a file that fails, or that has no such function."""
    path, _, attribute = name.rpartition(":")
    file = Path(path).expanduser().resolve()
    # A name of its own: two files may both be called rewards.py.
    module_name = f"_reward_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None:
        raise RunError(f"reward_funcs: {path!r} is no Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as e:
        raise RunError(f"reward_funcs: {path!r} fails when imported: {type(e).__name__}: {e}") from e
    function = getattr(module, attribute, None)
    if not callable(function):
        raise RunError(f"reward_funcs: {path!r} has no function {attribute!r}")
    return function
