"""A bad plugin is installed for real (a folder on the path with its metadata): everything else goes on working."""

import json
from pathlib import Path

import pytest

GOOD = """
from ftk.component import Component
from ftk.markers import hookimpl

@hookimpl
def ftk_components():
    return [Component(kind="stage", name="poison", target="poison_target:X", summary="")]
"""

POISONS = {
    "raises": ("raise RuntimeError('boom')", "RuntimeError: boom"),
    "exits": ("import sys; sys.exit(7)", "calls sys.exit(7) while it is imported"),
    "sleeps": ("import time; time.sleep(60)" + GOOD, "took longer than 5 s to declare itself"),
    "prints": ("print('hello from poison')" + GOOD, "prints while it is declared: 'hello from poison'"),
    "torch": ("import torch" + GOOD, "torch while it is declared"),
    "misspells": (GOOD.replace("ftk_components", "ftk_componets"), "ftk_componets"),
    "component": (GOOD.replace('"poison"', '"sft"'), "stage:sft belongs to ft-plugin-sft"),
    "key": (
        GOOD + "@hookimpl\ndef ftk_sections():\n    return ['poison_config:Keys']\n",
        "key 'lora_rank' belongs to ft-plugin-lora",
    ),
    "kernel": (GOOD, "poison 1.0 needs ftk-kernel>=9, this is 0.1.0: pip install -U poison ftk-kernel"),
}


@pytest.fixture
def poisoned(tmp_path: Path):
    def make(name: str) -> Path:
        folder = tmp_path / "poison"
        info = folder / "poison-1.0.dist-info"
        info.mkdir(parents=True)
        need = "Requires-Dist: ftk-kernel>=9\n" if name == "kernel" else ""
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: poison\nVersion: 1.0\nSummary: bad\n{need}")
        (info / "entry_points.txt").write_text("[ftk.plugins]\npoison = poison_plugin\n")
        (folder / "poison_plugin.py").write_text(POISONS[name][0])
        keys = "from ftk.section import section\n\n@section('poison')\nclass Keys:\n    lora_rank: int = 1\n"
        (folder / "poison_config.py").write_text(keys)
        return folder

    return make


@pytest.mark.parametrize("name", POISONS)
def test_a_poisonous_plugin_is_contained(ftk, poisoned, name, tmp_path):
    folder, reason = poisoned(name), POISONS[name][1]

    listed = ftk("plugins", "--json", path=folder)
    assert listed.returncode == 0 and "poison" in [p["dist"] for p in json.loads(listed.stdout)]

    checked = ftk("plugins", "check", "poison", path=folder)
    assert checked.returncode == 1 and reason in checked.stdout, checked

    config = tmp_path / "good.yaml"
    config.write_text("model_name_or_path: /nowhere\nfinetuning_type: lora\nlora_rank: 4\n")
    planned = ftk("plan", config, "--json", path=folder)
    assert planned.returncode == 0, planned.stderr
    assert "stage:sft" in [c["id"] for c in json.loads(planned.stdout)["components"]]

    if name not in ("component", "key"):  # those two claim a name that is somebody else's, who gets it
        asked = ftk("plan", config, "stage=poison", path=folder)
        assert asked.returncode == 2 and reason in asked.stderr, asked
        assert "Traceback" not in asked.stderr
        disabled = ftk("plan", config, path=folder, FTK_DISABLE="poison")
        assert disabled.returncode == 0
