"""The pack keeps the contract of packs, and what is its own."""

import pytest

import ft_plugin_templates_mimo.plugin as plugin
from ft_plugin_templates.contract import PackContract, tokenizer_for
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.pack import read
from ftk_sdk.contracts import PluginContract

PACKAGE = plugin.__package__


class TestPlugin(PluginContract):
    plugin = plugin


class TestPack(PackContract):
    plugin = plugin


@pytest.mark.parametrize(
    ("name", "empty"),
    [("mimo", "<think>\n\n</think>\n\n"), ("mimo_vl", "<think>\n\n</think>\n\n"), ("mimo_v2", "<think></think>")],
)
def test_a_prompt_that_asks_for_no_thought_has_an_empty_one(name, empty):
    facts = read(PACKAGE, name)
    tokenizer = tokenizer_for(facts)
    template = ChatTemplate(facts, tokenizer, variables={"enable_thinking": False}, keep_thoughts=False)
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "reasoning_content": "T"}]
    prompt = template.encode_prompt(messages[:1])
    assert tokenizer.decode(prompt).endswith(f"<|im_start|>assistant\n{empty}")
    (row,) = template.encode([(messages, ())])
    assert row.input_ids[: len(prompt)] == prompt
    assert tokenizer.decode(row.input_ids[len(prompt) :]).rstrip() == "a<|im_end|>"
