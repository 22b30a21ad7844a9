"""Rewards from files of the user: ``rewards.py:score``."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from ftk.markers import hookimpl
from ftk.problems import RunError
from ftk.run import Run

from .config import RewardsConfig
from .specs import Reward


class RewardFiles:
    @hookimpl
    def ftk_rewards(self, run: Run) -> dict[str, Reward]:
        names = names_of(run.config[RewardsConfig].reward_funcs or ())
        return {name: function_of(written) for written, name in names.items() if ":" in written}


def names_of(written: Sequence[str]) -> dict[str, str]:
    """What each of ``reward_funcs`` is called in the log: without its folder, unless another one would be too."""
    short = {name: f"{Path(name.rpartition(':')[0]).stem}:{name.rpartition(':')[2]}" for name in written if ":" in name}
    return {name: short[name] if list(short.values()).count(short.get(name)) == 1 else name for name in written}


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
