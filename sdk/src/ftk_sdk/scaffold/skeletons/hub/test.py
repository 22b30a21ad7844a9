from ft_plugin_skeleton_name import plugin

from ftk_sdk.contracts import HubContract, PluginContract
from ftk_sdk.testing import make_plan
from ftk_sdk.tiny import write_tiny_model


class TestPlugin(PluginContract):
    plugin = plugin


class TestSkeletonName(HubContract):
    component = "hub:skeleton-name"
    missing = "skeleton-name:absent"

    def publish(self, folder):
        write_tiny_model(folder / "tiny")
        return self.run({"skeleton_name_root": str(folder)}), "skeleton-name:tiny"


def test_names_of_its_form_bring_it_into_the_plan():
    assert "hub:skeleton-name" in make_plan({"model_name_or_path": "skeleton-name:tiny"})
    assert "hub:skeleton-name" not in make_plan({"model_name_or_path": "owner/tiny"})
