"""The pack keeps the contract of packs, and what is its own."""

import json

import pytest

import ft_plugin_templates_glm.plugin as plugin
from ft_plugin_templates.battery import BATTERY
from ft_plugin_templates.contract import PackContract, tokenizer_for
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.pack import names, read
from ftk_sdk.contracts import PluginContract

PACKAGE = plugin.__package__


class TestPlugin(PluginContract):
    plugin = plugin


class TestPack(PackContract):
    plugin = plugin

    def as_the_vendor_takes_it(self, name, messages, tools):
        """For GLM-4: tools in a system message, calls as metadata, results as observations."""
        if name != "glm4":
            return messages
        turns = []
        for message in messages:
            calls = message.get("tool_calls", ())
            if message["content"] or not calls:
                role = "observation" if message["role"] == "tool" else message["role"]
                turns.append({"role": role, "content": message["content"]})
            for function in (call["function"] for call in calls):
                text = json.dumps(function["arguments"], ensure_ascii=False)
                turns.append({"role": "assistant", "metadata": function["name"], "content": text})
        if tools and turns[0]["role"] != "system":
            turns.insert(0, {"role": "system", "content": ""})
        if tools:
            turns[0]["tools"] = tools
        return turns


@pytest.mark.parametrize("name", [name for name in names(PACKAGE) if name != "chatglm3"])
def test_a_call_ends_with_the_marker_of_its_results(name):
    facts = read(PACKAGE, name)
    tokenizer = tokenizer_for(facts)
    messages, tools = BATTERY["tool"]
    (row,) = ChatTemplate(facts, tokenizer).encode([(messages[:3], tools)])
    trained = tokenizer.decode([i for i, weight in zip(row.input_ids, row.weights, strict=True) if weight])
    assert trained.endswith("<|observation|>")
    assert "get-weather" in trained
