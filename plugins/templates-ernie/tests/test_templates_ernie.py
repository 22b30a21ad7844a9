"""The pack keeps the contract of packs, and what is its own."""

import pytest

import ft_plugin_templates_ernie.plugin as plugin
from ft_plugin_templates.contract import PackContract, tokenizer_for
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.pack import read
from ftk_sdk.contracts import PluginContract

PACKAGE = plugin.__package__


class TestPlugin(PluginContract):
    plugin = plugin


class TestPack(PackContract):
    plugin = plugin


@pytest.mark.parametrize("name", ["ernie", "ernie_vl"])
@pytest.mark.parametrize("thinks", [True, False, None])
def test_an_empty_thought_is_learned_only_where_every_answer_has_one(name, thinks):
    facts = read(PACKAGE, name)
    tokenizer = tokenizer_for(facts)
    template = ChatTemplate(facts, tokenizer, variables={"enable_thinking": thinks})
    (row,) = template.encode([([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], ())])
    trained = tokenizer.decode([i for i, weight in zip(row.input_ids, row.weights, strict=True) if weight])
    assert ("</think>" in trained) == (thinks is True)
    assert "<think>\n\n</think>\n\n" in tokenizer.decode(row.input_ids)
