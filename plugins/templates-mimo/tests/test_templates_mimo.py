"""The pack: the contract of packs, golden files, and vendors' own templates where they are at hand."""

from pathlib import Path

import pytest

import ft_plugin_templates_mimo.plugin as plugin
from ft_plugin_templates.contract import CHECKS, check_golden, tokenizer_for
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.originals import count_alike, find_originals
from ft_plugin_templates.pack import names, read
from ftk_sdk.contracts import PluginContract

PACKAGE = plugin.__package__

# template, original, in what it is one, conversations of the battery that both write alike
ORIGINALS = [
    # llama.cpp: MiMo-VL
    ("mimo_vl", "10490379c20af484107413cc5fd93f6e587d0cb4364a183a89ab68849406b80d", dict(), 23),
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
