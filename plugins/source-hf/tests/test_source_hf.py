"""The hub: what is asked of it, and what is said when it cannot be reached."""

import json

import datasets
import pytest

from ft_plugin_source_hf import plugin
from ftk.contracts import DatasetSpec
from ftk.problems import RunError
from ftk_sdk.contracts import PluginContract, SourceContract
from ftk_sdk.testing import make_run


class TestPlugin(PluginContract):
    plugin = plugin


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


class TestFolder(SourceContract):
    """A folder laid out like a repository of the hub stands for one: both go through ``datasets.load_dataset``."""

    component = "source:hf"

    def write(self, folder, rows):
        (folder / "repository").mkdir()
        (folder / "repository" / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return str(folder / "repository")


def opened(tmp_path, keys=None, **spec):
    (tmp_path / "part").mkdir()
    for name in ("train", "test"):
        (tmp_path / "part" / f"{name}.jsonl").write_text(json.dumps({"split": name}))
    run = make_run({"output_dir": str(tmp_path / "out"), **(keys or {})}, components=["source:hf"])
    return run.open_source(
        DatasetSpec(**{"name": "x", "source": "hf", "location": str(tmp_path), "formatting": "", **spec})
    )


def test_split_and_folder_are_passed_on(tmp_path):
    assert opened(tmp_path, split="test", folder="part").to_list() == [{"split": "test"}]


def test_a_run_that_streams_gets_a_stream(tmp_path):
    data = opened(tmp_path, {"streaming": True}, folder="part")
    assert isinstance(data, datasets.IterableDataset)
    assert list(data) == [{"split": "train"}]


def test_an_unknown_split_names_the_ones_there_are(tmp_path):
    with pytest.raises(RunError, match=r"Unknown split \"validation\". Should be one of \['train', 'test'\]"):
        opened(tmp_path, split="validation", folder="part")


def test_an_unknown_subset_is_one_clear_error(tmp_path):
    with pytest.raises(RunError, match="'en' not found. Available: "):
        opened(tmp_path, subset="en", folder="part")


def test_without_the_hub_the_error_says_what_to_do(tmp_path):
    with pytest.raises(RunError) as error:
        opened(tmp_path, location="org/name")
    assert "dataset 'org/name' on the hub cannot be reached" in str(error.value)
    assert "check the connection and HF_HUB_OFFLINE, or download it and name the folder" in str(error.value)
