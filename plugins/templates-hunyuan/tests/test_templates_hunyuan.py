"""The pack: the contract of packs, golden files, and vendors' own templates where they are at hand."""

from pathlib import Path

import pytest

import ft_plugin_templates_hunyuan.plugin as plugin
from ft_plugin_templates.contract import CHECKS, check_golden, tokenizer_for
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.originals import count_alike, find_originals
from ft_plugin_templates.pack import names, read
from ftk_sdk.contracts import PluginContract

PACKAGE = plugin.__package__

# Thoughts of all turns are written, as for training; the original knows none in the text.
HY3 = dict(preserve_thinking=True, is_training=True, without=["thought in the text"])

# template, original, in what it is one, conversations of the battery that both write alike
ORIGINALS = [
    # Tencent-Hunyuan/Hunyuan-A13B: models/tokenizer_config.json
    (
        "hunyuan",
        "c9635ab946bc8f88301ddd90da091fe6f50ee3bcbea5f338d86a67099ffebc32",
        dict(without=["thoughts", "thought in the text", "empty system", "empty question"]),
        17,
    ),
    # Hy3-preview: chat_template.jinja
    (
        "hy3",
        "549094157c93822886286bb64fc1a823fac4d85bd47c4a3d812483f18baa2d6c",
        HY3 | dict(enable_thinking=True, reasoning_effort="high"),
        25,
    ),
    # the same
    (
        "hy3",
        "549094157c93822886286bb64fc1a823fac4d85bd47c4a3d812483f18baa2d6c",
        HY3 | dict(enable_thinking=False, reasoning_effort="no_think"),
        25,
    ),
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


def test_the_answer_of_hunyuan_after_a_thought_is_in_tags():
    facts = read(PACKAGE, "hunyuan")
    tokenizer = tokenizer_for(facts)
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "reasoning_content": "T"}]
    (row,) = ChatTemplate(facts, tokenizer).encode([(messages, ())])
    trained = tokenizer.decode([i for i, weight in zip(row.input_ids, row.weights, strict=True) if weight])
    assert trained == "<think>\nT\n</think>\n<answer>\na\n</answer><|eos|>"
