from ft_plugin_skeleton_name import plugin

from ftk.contracts import Example
from ftk_sdk.contracts import FormatContract, PluginContract

FIVE = Example(messages=({"role": "user", "content": "2 + 3?"}, {"role": "assistant", "content": "5"}))


class TestPlugin(PluginContract):
    plugin = plugin


class TestSkeletonName(FormatContract):
    component = "format:skeleton-name"
    read = (({"question": "2 + 3?", "answer": "5"}, FIVE),)
    refused = ({"question": "2 + 3?"}, {"question": "2 + 3?", "answer": 5}, {"question": " ", "answer": "5"})


class TestWithColumnsOfOtherNames(TestSkeletonName):
    spec = {"columns": {"question": "ask"}}
    read = (({"ask": "2 + 3?", "answer": "5"}, FIVE),)
