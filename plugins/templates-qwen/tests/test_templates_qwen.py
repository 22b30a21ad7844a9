"""The pack keeps the contract of packs, and what is its own."""

import pytest

import ft_plugin_templates_qwen.plugin as plugin
from ft_plugin_templates.contract import PackContract, tokenizer_for
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.pack import read
from ftk_sdk.contracts import PluginContract

PACKAGE = plugin.__package__


class TestPlugin(PluginContract):
    plugin = plugin


class TestPack(PackContract):
    plugin = plugin


@pytest.mark.parametrize("name", ["qwen3_5", "qwen3_6", "qwen3_omni", "qwen3_vl"])
@pytest.mark.parametrize("thinks", [True, False, None])
def test_an_empty_thought_is_learned_only_where_every_answer_has_one(name, thinks):
    facts = read(PACKAGE, name)
    tokenizer = tokenizer_for(facts)
    template = ChatTemplate(facts, tokenizer, variables={"enable_thinking": thinks})
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    (row,) = template.encode([(messages, ())])
    trained = tokenizer.decode([i for i, weight in zip(row.input_ids, row.weights, strict=True) if weight])
    assert ("</think>" in trained) == (thinks is True)
    assert trained.endswith("a<|im_end|>\n")
    assert "<think>\n\n</think>\n\na<|im_end|>" in tokenizer.decode(row.input_ids)
