from ft_plugin_skeleton_name import plugin

from ftk_sdk.contracts import LoaderContract, PluginContract
from ftk_sdk.testing import make_plan


class TestPlugin(PluginContract):
    plugin = plugin


class TestSkeletonName(LoaderContract):
    component = "loader:skeleton-name"
    model_key = "skeleton_name_folder"


def test_its_key_puts_it_in_place_of_the_default_loader():
    plan = make_plan({"skeleton_name_folder": "model"})
    assert [c.id for c in plan.of_kind("loader")] == ["loader:skeleton-name"]
