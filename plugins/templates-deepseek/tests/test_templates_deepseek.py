"""The pack keeps the contract of packs, and what is its own."""

import json

import pytest

import ft_plugin_templates_deepseek.plugin as plugin
from ft_plugin_templates.contract import PackContract, tokenizer_for
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.pack import read
from ftk_sdk.contracts import PluginContract

PACKAGE = plugin.__package__


class TestPlugin(PluginContract):
    plugin = plugin


class TestPack(PackContract):
    plugin = plugin

    def as_the_vendor_takes_it(self, name, messages, tools):
        """Calls with arguments as JSON text, and no content beside them."""
        messages = json.loads(json.dumps(messages))
        for message in messages:
            for call in message.get("tool_calls", ()):
                call["function"]["arguments"] = json.dumps(call["function"]["arguments"], ensure_ascii=False)
                message["content"] = message["content"] or None
        return messages


def test_the_thought_of_the_last_answer_is_learned_and_its_opening_is_the_prompts():
    facts = read(PACKAGE, "deepseekr1")
    tokenizer = tokenizer_for(facts)
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "reasoning_content": "T"}]
    (row,) = ChatTemplate(facts, tokenizer).encode([(messages, ())])
    trained = tokenizer.decode([i for i, weight in zip(row.input_ids, row.weights, strict=True) if weight])
    assert trained == f"T\n</think>\n\na{facts.stop[0]}"
    assert tokenizer.decode(row.input_ids).endswith(f"<think>\n{trained}")


@pytest.mark.parametrize("thinks", [False, None])
def test_an_empty_thought_that_is_asked_for_carries_no_loss(thinks):
    facts = read(PACKAGE, "deepseekr1")
    tokenizer = tokenizer_for(facts)
    template = ChatTemplate(facts, tokenizer, variables={"enable_thinking": thinks})
    (row,) = template.encode([([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], ())])
    trained = tokenizer.decode([i for i, weight in zip(row.input_ids, row.weights, strict=True) if weight])
    assert trained == f"a{facts.stop[0]}"
