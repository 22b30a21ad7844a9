"""The pack keeps the contract of packs, and what is its own."""

import ft_plugin_templates_gemma.plugin as plugin
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


def test_a_call_ends_where_its_result_begins():
    facts = read(PACKAGE, "gemma4")
    tokenizer = tokenizer_for(facts)
    (row,) = ChatTemplate(facts, tokenizer).encode([BATTERY["tool with thoughts"]])
    trained = tokenizer.decode([i for i, weight in zip(row.input_ids, row.weights, strict=True) if weight])
    assert trained == (
        "<|channel>thought\nI should look it up\n<channel|>"
        '<|tool_call>call:get-weather{city:<|"|>Oslo<|"|>,days:2}<tool_call|><|tool_response>'
        "That is cold\n<channel|>It is freezing.<turn|>\n"
    )
