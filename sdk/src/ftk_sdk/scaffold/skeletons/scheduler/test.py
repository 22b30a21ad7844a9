from ft_plugin_skeleton_name import plugin
from ft_plugin_skeleton_name.schedule import share

from ftk_sdk.contracts import PluginContract, SchedulerContract


class TestPlugin(PluginContract):
    plugin = plugin


class TestSkeletonName(SchedulerContract):
    component = "scheduler:skeleton-name"
    keys = {"skeleton_name_floor": 0.1}


def test_the_line_goes_from_the_learning_rate_to_the_floor():
    assert [share(step, steps=5, floor=0.5) for step in range(6)] == [1.0, 0.875, 0.75, 0.625, 0.5, 0.5]
