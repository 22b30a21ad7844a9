import pytest
from ft_plugin_skeleton_name import plugin

from ftk.problems import RunError
from ftk_sdk.contracts import AdapterContract, PluginContract
from ftk_sdk.testing import make_run
from ftk_sdk.tiny import tiny_llama


class TestPlugin(PluginContract):
    plugin = plugin


class TestSkeletonName(AdapterContract):
    component = "adapter:skeleton-name"
    trains = "norm"


def test_a_part_that_matches_nothing_is_an_error():
    run = make_run({"skeleton_name_train": "nrom"}, components=["adapter:skeleton-name"])
    with pytest.raises(RunError, match="matches no parameter"):
        run.adapt_model(tiny_llama())
