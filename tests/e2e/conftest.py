from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BLOCKER = """
import socket, sys

class Blocked(socket.socket):
    def connect(self, address):
        if self.family != socket.AF_UNIX:
            sys.stderr.write(f"SOCKET {address}\\n")
            raise OSError(f"no network in this test: {address}")
        return super().connect(address)

    connect_ex = connect

def lookup(host, *rest, **more):
    sys.stderr.write(f"SOCKET {host}\\n")
    raise socket.gaierror(f"no network in this test: {host}")

socket.socket, socket.getaddrinfo = Blocked, lookup
"""


@pytest.fixture
def ftk(tmp_path: Path):
    """Run the real program in a process of its own: ``ftk("plan", "x.yaml")``. No network unless asked for."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(BLOCKER)

    def run(*words: str, path: Path | None = None, timeout: float = 300, **env: str) -> subprocess.CompletedProcess:
        folders = [str(p) for p in (site, path) if p is not None]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders), "HF_HUB_OFFLINE": "1"} | env
        return subprocess.run(
            [sys.executable, "-m", "ftk.cli.main", *map(str, words)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
        )

    return run
