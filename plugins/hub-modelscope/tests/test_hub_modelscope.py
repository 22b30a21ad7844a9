"""The plugin up to the call of ModelScope's own package, in whose place the tests put one of their own."""

from __future__ import annotations

import inspect
import json
import sys
import types

import pytest

from ft_plugin_hub_modelscope import plugin
from ft_plugin_hub_modelscope.names import id_of
from ftk.problems import ConfigError, RunError
from ftk_sdk.contracts import HubContract, PluginContract
from ftk_sdk.testing import make_plan, make_run
from ftk_sdk.tiny import write_tiny_model

PACKAGE = """
import json, os
from pathlib import Path

class HubError(Exception): pass
class NotExistError(HubError): pass

def snapshot_download(model_id=None, revision=None, cache_dir=None, *, token=None):
    root = Path(os.environ["MODELSCOPE_TEST"])
    with open(root / "calls.jsonl", "a") as f:
        json.dump([model_id, revision, cache_dir, token], f)
        f.write("\\n")
    if model_id.startswith("down/"):
        raise HubError("the connection was reset")
    if not (root / model_id).is_dir():
        raise NotExistError("404: there is none")
    return str(root / model_id)
"""


@pytest.fixture
def modelscope(tmp_path, monkeypatch):
    """A package ``modelscope`` that finds models in a folder, and the calls that it got."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "modelscope.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("MODELSCOPE_TEST", str(tmp_path))
    monkeypatch.setenv("FTK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("USE_MODELSCOPE_HUB", raising=False)
    names = ("modelscope", "ft_plugin_hub_modelscope.hub")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield lambda: [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    for name in names:
        sys.modules.pop(name, None)


class TestPlugin(PluginContract):
    plugin = plugin


@pytest.mark.usefixtures("modelscope")
class TestHub(HubContract):
    component = "hub:modelscope"
    missing = "modelscope:org/no-such-model"

    def publish(self, folder):
        write_tiny_model(folder / "org" / "tiny")
        return self.run(), "modelscope:org/tiny"


def located(name, **keys):
    return make_run({"model_name_or_path": name, **keys}, components=["hub:modelscope", "loader:hf"]).locate_model(name)


def test_a_model_is_loaded_from_where_the_package_put_it(modelscope, tmp_path):
    write_tiny_model(tmp_path / "org" / "tiny")
    run = make_run({"model_name_or_path": "modelscope:org/tiny"}, components=["hub:modelscope", "loader:hf"])
    assert run.load_tokenizer()("fox")["input_ids"]
    assert run.load_model().num_parameters() > 0
    assert modelscope()[0] == ["org/tiny", "master", None, None]


def test_revision_cache_and_token_are_passed_on_when_set(modelscope, tmp_path):
    (tmp_path / "org" / "tiny").mkdir(parents=True)
    located("modelscope:org/tiny", model_revision="v2", cache_dir="/models", ms_hub_token="secret")
    assert modelscope() == [["org/tiny", "v2", "/models", "secret"]]


def test_the_variable_takes_ids_without_a_prefix(modelscope, tmp_path, monkeypatch):
    (tmp_path / "org" / "tiny").mkdir(parents=True)
    assert located("org/tiny").path == "org/tiny"
    monkeypatch.setenv("USE_MODELSCOPE_HUB", "1")
    assert located("org/tiny").path == str(tmp_path / "org" / "tiny")
    monkeypatch.chdir(tmp_path)
    assert located("org/tiny").path == "org/tiny", "a folder of this name comes first"


@pytest.mark.parametrize("name", ["./org", "../org/x", "/org/x", "gpt2", "pypi:a", "a/b/c", ""])
def test_what_is_no_id_is_never_taken(monkeypatch, name):
    monkeypatch.setenv("USE_MODELSCOPE_HUB", "true")
    assert id_of(name) is None


@pytest.mark.parametrize("word", ["", "0", "false", "no"])
def test_the_variable_can_be_off(monkeypatch, word):
    monkeypatch.setenv("USE_MODELSCOPE_HUB", word)
    assert id_of("org/tiny") is None


def test_what_the_package_says_is_told_with_what_to_do(modelscope):
    with pytest.raises(RunError, match="ModelScope has no model 'org/none' for this user: 404") as caught:
        located("modelscope:org/none")
    assert "ms_hub_token" in caught.value.hint
    with pytest.raises(RunError, match="cannot get 'down/x' from ModelScope: the connection was reset"):
        located("modelscope:down/x")


def test_the_name_alone_selects_the_hub(monkeypatch):
    monkeypatch.delenv("USE_MODELSCOPE_HUB", raising=False)

    def selected(name):
        return plugin.ftk_select(make_plan({"model_name_or_path": name}, components=["loader:hf"]).config)

    assert selected("modelscope:Qwen/Qwen3-0.6B") == selected("modelscope:nonsense") == ["hub:modelscope"]
    assert selected("Qwen/Qwen3-0.6B") == []
    monkeypatch.setenv("USE_MODELSCOPE_HUB", "1")
    assert selected("Qwen/Qwen3-0.6B") == ["hub:modelscope"]


@pytest.mark.parametrize("name", ["modelscope:", "modelscope:tiny", "modelscope:a b/c", "modelscope:a/b/c"])
def test_a_name_of_another_form_is_an_error_of_the_plan(modelscope, name):
    with pytest.raises(ConfigError, match="is not of the form modelscope:OWNER/NAME"):
        make_plan({"model_name_or_path": name}, components=["hub:modelscope", "loader:hf"])


def test_without_the_package_the_plan_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "modelscope", None)  # absent, also where it is installed
    with pytest.raises(ConfigError, match="hub:modelscope needs the package 'modelscope'") as caught:
        make_plan({"model_name_or_path": "modelscope:Qwen/Qwen3-0.6B"})
    assert "pip install modelscope" in str(caught.value)


def test_the_real_package_takes_these_arguments():
    download = pytest.importorskip("modelscope", reason="pip install modelscope").snapshot_download
    assert isinstance(download, types.FunctionType)
    inspect.signature(download).bind("org/tiny", revision="master", cache_dir="/models", token="secret")
