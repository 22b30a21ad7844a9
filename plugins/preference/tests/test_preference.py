from ft_plugin_preference import plugin
from ftk_sdk.contracts import PluginContract


class TestPlugin(PluginContract):
    plugin = plugin
