"""CPU time of the light commands, with what is installed and with 60 dummy plugins more.

usage: python tests/benchmarks/startup.py [RUNS]
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

COMMANDS = (["--help"], ["plugins"], ["keys"], ["version"])
PLUGIN = """
from ftk.component import Component
from ftk.markers import hookimpl

@hookimpl
def ftk_components():
    return [Component(kind="addon", name="dummy{n}", target="nowhere:X", summary="A dummy")]

@hookimpl
def ftk_sections():
    return ["dummy{n}_config:Config"]
"""
CONFIG = """
from ftk.section import section

@section("dummy{n}", enabled_by="dummy{n}_use")
class Config:
    dummy{n}_use: bool = False
    dummy{n}_rank: int = 8
"""


def write_dummies(folder: Path, count: int) -> None:
    for n in range(count):
        info = folder / f"ft_plugin_dummy{n}-0.1.0.dist-info"
        info.mkdir()
        need = "Requires-Dist: ftk-kernel>=0.1,<0.2\n"
        meta = f"Metadata-Version: 2.1\nName: ft-plugin-dummy{n}\nVersion: 0.1.0\nSummary: A dummy\n{need}"
        (info / "METADATA").write_text(meta)
        (info / "entry_points.txt").write_text(f"[ftk.plugins]\ndummy{n} = dummy{n}_plugin\n")
        (folder / f"dummy{n}_plugin.py").write_text(PLUGIN.format(n=n))
        (folder / f"dummy{n}_config.py").write_text(CONFIG.format(n=n))


def cpu_milliseconds(words: list[str], path: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    script = Path(sys.executable).with_name("ftk")
    subprocess.run([str(script), *words], env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main(runs: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        write_dummies(Path(name), 60)
        print(f"CPU milliseconds, minimum and median of {runs} runs")
        for words in COMMANDS:
            for what, path in (("installed", ""), ("60 more", name)):
                cpu_milliseconds(words, path)  # byte-code is compiled once
                times = [cpu_milliseconds(words, path) for _ in range(runs)]
                print(f"ftk {' '.join(words):8} {what:10} {min(times):6.0f} {statistics.median(times):6.0f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
