"""The pack keeps the contract of packs, and what is its own."""

import ft_plugin_templates_mistral.plugin as plugin
from ft_plugin_templates.contract import PackContract
from ftk_sdk.contracts import PluginContract


class TestPlugin(PluginContract):
    plugin = plugin


class TestPack(PackContract):
    plugin = plugin
