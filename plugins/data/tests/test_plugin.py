"""What holds for every plugin."""

from ft_plugin_data import plugin
from ftk_sdk.contracts import PluginContract


class TestPlugin(PluginContract):
    plugin = plugin
