"""Running code that nobody has read: the side of the caller."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

INSIDE = Path(__file__).with_name("inside.py")


@dataclass(frozen=True, slots=True)
class Outcome:
    passed: list[bool]
    """For each test, whether the code and then the test ran to their end."""
    missing: list[str] = field(default_factory=list)
    """What the machine could not keep the code from."""
    problem: str = ""
    """Why nothing is known, if so."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Runs code with tests behind it in processes of their own, each test by itself.

    They have an empty environment, an empty folder of their own to write in, and limits of time, memory, processes and
    sizes of files. Where Linux lets a user have them: no network, no other processes to see or signal, nothing to read
    but Python itself, nothing to write but that folder. It is a fence around mistakes and tricks of a model that is
    being trained, no prison for code that is out to break it.
    """

    seconds: float
    megabytes: int

    def run(self, code: str, tests: Sequence[str]) -> Outcome:
        none = [False] * len(tests)
        with tempfile.TemporaryDirectory(prefix="ftk-sandbox-", ignore_cleanup_errors=True) as folder:
            task = {"code": code, "tests": list(tests), "seconds": self.seconds, "megabytes": self.megabytes}
            process = subprocess.Popen(
                [sys.executable, "-I", "-B", "-S", str(INSIDE), folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=folder,
                env={"PATH": "/usr/bin:/bin", "HOME": folder, "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )
            try:
                # Beside the tests themselves: the start of an interpreter on a busy machine.
                out, err = process.communicate(json.dumps(task).encode(), timeout=30 + self.seconds * len(tests))
            except subprocess.TimeoutExpired:
                return Outcome(none, problem="it took too long")
            finally:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        try:
            answer = json.loads(out)
            return Outcome([bool(passed) for passed in answer["passed"]], answer["missing"])
        except (ValueError, KeyError, TypeError):
            last = err.decode(errors="replace").strip().splitlines()[-1:]
            return Outcome(none, problem=last[0] if last else f"exit code {process.returncode}")
