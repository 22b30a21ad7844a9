"""The share of tests that a completion's code passes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ft_plugin_rewards.specs import Reward
from ftk.markers import hookimpl
from ftk.problems import RunError
from ftk.run import Run

from .config import RewardPythonConfig
from .sandbox import Sandbox

_FENCED = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)```", re.DOTALL)


class Provider:
    @hookimpl
    def ftk_rewards(self, run: Run) -> dict[str, Reward]:
        config = run.config[RewardPythonConfig]
        sandbox = Sandbox(seconds=config.reward_python_timeout, megabytes=config.reward_python_memory)
        works = sandbox.run("import math", ["assert math.sqrt(4) == 2", "assert False"])
        if works.passed != [True, False]:
            raise RunError(f"the sandbox of reward python_tests does not run: {works.problem}", "use another reward")
        for what in works.missing:
            run.logger.warning("reward python_tests: this machine cannot keep generated code from %s", what)
        return {"python_tests": PythonTests(sandbox, config.reward_python_workers)}


class PythonTests:
    """Reads the columns ``tests`` (Python statements, text or a list of texts) and, if there is one, ``setup``."""

    def __init__(self, sandbox: Sandbox, workers: int) -> None:
        self.sandbox, self.workers = sandbox, workers

    def __call__(
        self, *, completions: Sequence[str], tests: Sequence[Any], setup: Sequence[Any] | None = None, **columns: Any
    ) -> list[float | None]:
        """From 0 to 1; ``None`` for a row without tests."""
        begin = setup or [None] * len(completions)
        with ThreadPoolExecutor(self.workers) as pool:
            return list(pool.map(self._score, completions, tests, begin))

    def _score(self, completion: str, tests: Any, setup: Any) -> float | None:
        each = [tests] if isinstance(tests, str) else list(tests or ())
        if not each:
            return None
        passed = self.sandbox.run("\n".join([setup or "", code_of(completion)]), each).passed
        return sum(passed) / len(passed)


def code_of(completion: str) -> str:
    """The last fenced block, or all of a completion without one."""
    found = _FENCED.findall(completion)
    return found[-1] if found else completion
