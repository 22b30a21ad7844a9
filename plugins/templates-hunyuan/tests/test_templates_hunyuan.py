"""The pack keeps the contract of packs, and what is its own."""

import ft_plugin_templates_hunyuan.plugin as plugin
from ft_plugin_templates.contract import PackContract, tokenizer_for
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.pack import read
from ftk_sdk.contracts import PluginContract

PACKAGE = plugin.__package__


class TestPlugin(PluginContract):
    plugin = plugin


class TestPack(PackContract):
    plugin = plugin


def test_the_answer_of_hunyuan_after_a_thought_is_in_tags():
    facts = read(PACKAGE, "hunyuan")
    tokenizer = tokenizer_for(facts)
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "reasoning_content": "T"}]
    (row,) = ChatTemplate(facts, tokenizer).encode([(messages, ())])
    trained = tokenizer.decode([i for i, weight in zip(row.input_ids, row.weights, strict=True) if weight])
    assert trained == "<think>\nT\n</think>\n<answer>\na\n</answer><|eos|>"
