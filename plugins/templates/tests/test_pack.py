"""The core pack keeps the contract of packs."""

import ft_plugin_templates.plugin as plugin
from ft_plugin_templates.contract import PackContract


class TestPack(PackContract):
    plugin = plugin
