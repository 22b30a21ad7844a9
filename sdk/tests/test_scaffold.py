"""What ``ftk new`` writes works as it is, for every kind, and is written whole or not at all."""

import ast
import os
import subprocess
import sys
import tomllib

import pytest

from ftk.kinds import KINDS as ALL_KINDS
from ftk.problems import ConfigError
from ftk_sdk import contracts
from ftk_sdk.scaffold import KINDS, write


@pytest.mark.slow
def test_every_kind_passes_its_own_tests_once_it_is_installed(tmp_path):
    folders = [write(kind, f"sample-{kind}", tmp_path) for kind in KINDS]
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", tmp_path / "site", *folders], check=True)
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    pytest_command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib"]
    tests = [folder / "tests" for folder in folders]
    done = subprocess.run(
        [*pytest_command, *tests], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-10_000:]


def test_there_is_a_skeleton_and_a_contract_of_each_kind():
    assert set(KINDS) <= set(ALL_KINDS)
    assert {f"{kind.title().replace('-', '')}Contract" for kind in KINDS} <= set(contracts.__all__)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_has_the_skeleton_of_all_plugins(tmp_path, kind):
    folder = write(kind, "two-words", tmp_path)
    assert folder.name == "ft-plugin-two-words"
    data = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    assert data["project"]["entry-points"]["ftk.plugins"] == {"two-words": "ft_plugin_two_words.plugin"}
    for path in (p for p in folder.rglob("*") if p.is_file()):
        text = path.read_text(encoding="utf-8")
        assert "keleton" not in text and "SUMMARY" not in text and "DEPENDENCIES" not in text, path
        assert text.isascii() and text.endswith("\n"), path
        if path.suffix == ".py":
            ast.parse(text)
    assert (folder / "tests" / "test_two_words.py").exists() and (folder / "README.md").exists()
    assert (folder / "src" / "ft_plugin_two_words" / "plugin.py").exists()


def test_a_workflow_is_added_when_it_is_asked_for(tmp_path):
    plain, with_ci = write("loss", "one", tmp_path), write("loss", "two", tmp_path, ci=True)
    assert not (plain / ".github").exists()
    assert "pytest" in (with_ci / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("adaptor", "x", "no kind 'adaptor' can be written"),
        ("adapter", "My_Adapter", "'My_Adapter' is not a name"),
        ("adapter", "x--y", "'x--y' is not a name"),
        ("adapter", "../x", "'../x' is not a name"),
        ("adapter", "lora", "adapter:lora belongs to ft-plugin-lora"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(tmp_path, kind, name, message):
    with pytest.raises(ConfigError) as refused:
        write(kind, name, tmp_path)
    assert message in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_left_alone(tmp_path):
    kept = write("loss", "mine", tmp_path) / "README.md"
    kept.write_text("my own words\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="exists"):
        write("tracker", "mine", tmp_path)
    assert kept.read_text(encoding="utf-8") == "my own words\n"
    assert [path.name for path in tmp_path.iterdir()] == ["ft-plugin-mine"]


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        write("loss", "mine", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_to_do_next(tmp_path):
    command = [sys.executable, "-m", "ftk.cli.main", "new", "loss", "mine", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "pip install -e" in done.stdout
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 2 and "exists" in again.stderr and "Traceback" not in again.stderr
