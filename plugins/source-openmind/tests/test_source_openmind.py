import pytest

from ft_plugin_source_openmind import plugin
from ftk_sdk.contracts import PluginContract, SourceContract

from ...data.tests.hub_source import HubRequests, standing_in, write_rows


class TestPlugin(PluginContract):
    plugin = plugin


PACKAGE = """
import datasets, json
ASKED = []
class OmDataset:
    @staticmethod
    def load_dataset(path, **options):
        ASKED.append((path, options))
        if path == "org/missing":
            raise OSError("404: no such dataset\\nlong trace")
        rows = json.load(open(path)) if path.startswith("/") else [{"instruction": "a", "output": "b"}]
        return datasets.Dataset.from_list(rows)
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    yield from standing_in(plugin, "openmind/__init__.py", PACKAGE, tmp_path, monkeypatch)


@pytest.mark.usefixtures("package")
class TestRows(SourceContract):
    component = "source:openmind"

    def write(self, folder, rows):
        return write_rows(folder, rows)


class TestRequests(HubRequests):
    source, hub, module = "openmind", "Modelers", "openmind"
    token, variable = "om_hub_token", "USE_OPENMIND_HUB"
    options = {"name": "part", "data_dir": "inner", "split": "test", "streaming": False}
