"""The pack: the contract of packs, golden files, and vendors' own templates where they are at hand."""

from pathlib import Path

import pytest

import ft_plugin_templates_ernie.plugin as plugin
from ft_plugin_templates.contract import CHECKS, check_golden, tokenizer_for
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.originals import count_alike, find_originals
from ft_plugin_templates.pack import names, read
from ftk_sdk.contracts import PluginContract

PACKAGE = plugin.__package__

# template, original, in what it is one, conversations of the battery that both write alike
ORIGINALS = [
    # transformers: convert_ernie4_5_tokenizer.py
    ("ernie_nothink", "471fb571976770318fe6f27749e37940be8d29c0a7770558140f141f5906f2a2", dict(), 16),
]


class TestPlugin(PluginContract):
    plugin = plugin


@pytest.mark.parametrize("name", names(PACKAGE))
def test_a_template_renders_what_its_golden_file_says(name):
    check_golden(PACKAGE, name, Path(__file__).parent / "golden")


@pytest.mark.parametrize("name", names(PACKAGE))
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_template_keeps_the_contract(name, check):
    check(PACKAGE, name)


@pytest.mark.parametrize(("name", "digest", "options", "number"), ORIGINALS)
def test_a_template_writes_what_the_original_writes(name, digest, options, number):
    if digest not in find_originals():
        pytest.skip("the original is not at hand")
    assert count_alike(PACKAGE, name, find_originals()[digest], **options) == number


def test_what_a_file_calls_an_original_is_compared_with():
    compared = {(name, digest) for name, digest, *_ in ORIGINALS}
    assert {(name, digest) for name in names(PACKAGE) for digest in read(PACKAGE, name).originals} <= compared


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
