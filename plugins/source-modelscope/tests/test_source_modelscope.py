import pytest

from ft_plugin_source_modelscope import plugin
from ftk_sdk.contracts import PluginContract, SourceContract

from ...data.tests.hub_source import HubRequests, standing_in, write_rows


class TestPlugin(PluginContract):
    plugin = plugin


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


@pytest.fixture
def package(tmp_path, monkeypatch):
    yield from standing_in(plugin, "modelscope/msdatasets.py", PACKAGE, tmp_path, monkeypatch)


@pytest.mark.usefixtures("package")
class TestRows(SourceContract):
    component = "source:modelscope"

    def write(self, folder, rows):
        return write_rows(folder, rows)


class TestRequests(HubRequests):
    source, hub, module = "modelscope", "ModelScope", "modelscope.msdatasets"
    token, variable = "ms_hub_token", "USE_MODELSCOPE_HUB"
    options = {"subset_name": "part", "data_dir": "inner", "split": "test", "use_streaming": False}
