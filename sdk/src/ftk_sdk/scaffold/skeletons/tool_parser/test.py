from ft_plugin_skeleton_name import plugin

from ftk.contracts import ParsedAnswer, ToolCall
from ftk_sdk.contracts import PluginContract, ToolParserContract

CALL = ToolCall("get-weather", {"city": "Oslo", "days": 2})


class TestPlugin(PluginContract):
    plugin = plugin


class TestSkeletonName(ToolParserContract):
    component = "tool-parser:skeleton-name"
    examples = (
        ('<call get-weather>{"city": "Oslo", "days": 2}</call>', ParsedAnswer(tool_calls=(CALL,))),
        (
            'I look.\n<call now>{}</call>\n<call f>{"a": "</call>"}</call>',
            ParsedAnswer("I look.", tool_calls=(ToolCall("now", {}), ToolCall("f", {"a": "</call>"}))),
        ),
        (
            "<call now>soon</call>",
            ParsedAnswer(
                "<call now>soon</call>", problems=("a call cannot be read: 's' begins neither an object nor a list",)
            ),
        ),
    )
