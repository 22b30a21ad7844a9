"""The hub: what is asked of its package, and what is said where the package or the data is not there."""

import json
import sys

import datasets
import pytest

from ft_plugin_source_modelscope import plugin
from ftk.contracts import DatasetSpec
from ftk.problems import ConfigError, RunError
from ftk_sdk.contracts import PluginContract, SourceContract
from ftk_sdk.testing import make_plan, make_run

KEYS = {"stage": "pt", "finetuning_type": "full", "model_name_or_path": "x", "dataset": "modelscope:org/name"}


class TestPlugin(PluginContract):
    plugin = plugin


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Stands for the package, which has pins of its own: it writes down what it is asked for."""
    file = tmp_path / "site" / "modelscope/msdatasets.py"
    file.parent.mkdir(parents=True)
    for name in ("__init__.py", file.name):
        (file.parent / name).touch()
    file.write_text(PACKAGE)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield tmp_path
    for name in [
        name for name in sys.modules if name.partition(".")[0] in ("modelscope", "ft_plugin_source_modelscope")
    ]:
        if name not in (plugin.__name__, "ft_plugin_source_modelscope"):
            del sys.modules[name]


@pytest.mark.usefixtures("package")
class TestRows(SourceContract):
    component = "source:modelscope"

    def write(self, folder, rows):
        (folder / "rows.json").write_text(json.dumps(list(rows)))
        return str(folder / "rows.json")


def opened(folder, spec=None, **keys):
    run = make_run({"output_dir": str(folder / "out"), **keys}, components=["source:modelscope", "loader:hf"])
    given = {"name": "x", "source": "modelscope", "location": "org/name", "formatting": "alpaca", **(spec or {})}
    return run.open_source(DatasetSpec(**given)), sys.modules["modelscope.msdatasets"].ASKED


PACKAGE = """
import datasets, json
ASKED = []
class MsDataset:
    @staticmethod
    def load(name, **options):
        ASKED.append((name, options))
        if name == "org/missing":
            raise OSError("404: no such dataset\\nlong trace")
        found = MsDataset()
        found.rows = json.load(open(name)) if name.startswith("/") else [{"instruction": "a", "output": "b"}]
        return found
    def to_hf_dataset(self):
        return datasets.Dataset.from_list(self.rows)
"""


def test_name_split_folder_and_token_are_passed_on(package):
    spec = {"subset": "part", "split": "test", "folder": "inner", "revision": "v1"}
    data, asked = opened(package, spec, ms_hub_token="secret")
    assert data.to_list() == [{"instruction": "a", "output": "b"}]
    options = {"subset_name": "part", "data_dir": "inner", "split": "test", "use_streaming": False}
    assert asked == [("org/name", {**options, "revision": "v1", "token": "secret"})]
    assert isinstance(data, datasets.Dataset)


def test_what_the_hub_refuses_is_told_in_one_line(package):
    with pytest.raises(RunError) as error:
        opened(package, {"location": "org/missing"})
    text = "dataset 'org/missing' of ModelScope cannot be read: 404: no such dataset long trace"
    assert str(error.value).splitlines()[0] == text


def test_a_run_without_the_package_is_told_what_to_install():
    with pytest.raises(ConfigError) as error:
        make_plan(KEYS)
    assert "source:modelscope needs the package 'modelscope'" in str(error.value)
    assert "pip install modelscope" in str(error.value)


def test_ids_without_a_prefix_are_its_own_where_the_variable_says_so(monkeypatch, package):
    monkeypatch.setenv("USE_MODELSCOPE_HUB", "1")
    assert "source:modelscope" in make_plan({**KEYS, "dataset": "org/name"})
    monkeypatch.delenv("USE_MODELSCOPE_HUB")
    assert "source:modelscope" not in make_plan({**KEYS, "dataset": "org/name"})
