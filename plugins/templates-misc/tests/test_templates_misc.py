"""The pack keeps the contract of packs, and what is its own."""

import ft_plugin_templates_misc.plugin as plugin
from ft_plugin_templates.battery import BATTERY
from ft_plugin_templates.contract import PackContract, tokenizer_for
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.pack import read
from ftk_sdk.contracts import PluginContract

PACKAGE = plugin.__package__


class TestPlugin(PluginContract):
    plugin = plugin


class TestPack(PackContract):
    plugin = plugin
    ends_once = ("gpt_oss",)


def test_gpt_oss_learns_to_end_an_answer_with_return_and_a_call_with_call():
    facts = read(PACKAGE, "gpt_oss")
    tokenizer = tokenizer_for(facts)
    template = ChatTemplate(facts, tokenizer)

    def trained(title):
        (row,) = template.encode([BATTERY[title]])
        runs = [""]
        for token, weight in zip(row.input_ids, row.weights, strict=True):
            runs = [*runs[:-1], runs[-1] + tokenizer.decode([token])] if weight else [*runs, ""]
        return [run for run in runs if run]

    assert trained("two turns") == [
        "<|channel|>final<|message|>First.",
        "<|channel|>final<|message|>Second.<|return|>",
    ]
    assert trained("tool with thoughts") == [
        "<|channel|>analysis<|message|>I should look it up<|end|><|start|>assistant"
        ' to=functions.get-weather<|channel|>commentary json<|message|>{"city": "Oslo", "days": 2}<|call|>',
        "<|channel|>analysis<|message|>That is cold<|end|><|start|>assistant"
        "<|channel|>final<|message|>It is freezing.<|return|>",
    ]


def test_gpt_oss_writes_the_schemas_of_tools_as_typescript():
    facts = read(PACKAGE, "gpt_oss")
    properties = {
        "way": {"type": "string", "enum": ["x", "y"], "description": "Which way", "default": "x"},
        "numbers": {"type": "array", "items": {"type": "integer"}},
        "things": {"type": "array"},
        "maybe": {"type": ["string", "null"]},
        "inner": {"type": "object", "properties": {"p": {"type": "string", "nullable": True}}, "required": ["p"]},
        "either": {"oneOf": [{"type": "string"}, {"type": "number"}]},
        "anything": {},
    }
    parameters = {"type": "object", "properties": properties, "required": ["way", "inner"]}
    tools = [{"name": "f", "description": "Does", "parameters": parameters}, {"name": "g", "description": "Also"}]
    text = ChatTemplate(facts, tokenizer_for(facts)).render([{"role": "user", "content": "Hi"}], tools=tools)
    assert text.split("namespace functions {\n\n")[1].split("\n\n} // namespace")[0] == (
        "// Does\ntype f = (_: {\n"
        '// Which way\nway: "x" | "y", // default: x,\n'
        "numbers?: number[],\nthings?: any[],\nmaybe?: string | null,\n"
        "inner: {\np: string | null},\neither?: string | number,\nanything?: any,\n}) => any;\n\n"
        "// Also\ntype g = () => any;"
    )
