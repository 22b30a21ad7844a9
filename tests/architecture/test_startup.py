"""Commands that list things stay light, with every plugin installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ftk.guard import HEAVY

CODE = """
import sys
from ftk.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as e:
    assert not e.code, e.code
print(*sorted(sys.modules), file=sys.stderr)
"""


def modules(*words: str) -> set[str]:
    """Every module that a command imports."""
    done = subprocess.run([sys.executable, "-c", CODE, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "words", [["--help"], ["plugins"], ["keys"], ["version"], ["explain", "seed"], ["run", "--help"]]
)
def test_a_listing_command_imports_nothing_heavy(words):
    assert sorted(modules(*words) & HEAVY) == []


@pytest.mark.parametrize("words", [["--help"], ["plugins"], ["version"]])
def test_what_metadata_tells_imports_no_plugin(words):
    assert sorted(m for m in modules(*words) if m.startswith(("ft_plugin_", "ft_contrib_", "ftk_sdk"))) == []


def test_every_plugin_of_the_suite_can_be_listed():
    listed = subprocess.run([sys.executable, "-m", "ftk.cli.main", "plugins", "check"], capture_output=True, text=True)
    faulty = [line for line in listed.stdout.splitlines() if line.startswith("FAIL ft-plugin-")]
    assert faulty == []
