"""The pack: the contract of packs, golden files, and vendors' own templates where they are at hand."""

import hashlib
from pathlib import Path

import pytest
from transformers import Qwen2AudioProcessor

import ft_plugin_templates_qwen.plugin as plugin
from ft_plugin_templates.contract import CHECKS, check_golden, tokenizer_for
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.originals import count_alike, find_originals
from ft_plugin_templates.pack import names, read
from ftk_sdk.contracts import PluginContract

PACKAGE = plugin.__package__
AUDIO = Qwen2AudioProcessor.default_chat_template.fget(None)
AT_HAND = {**find_originals(), hashlib.sha256(AUDIO.encode()).hexdigest(): AUDIO}

# template, original, in what it is one, conversations of the battery that both write alike
ORIGINALS = [
    # trl 1.16 qwen2_5_vl.jinja
    ("qwen2_vl", "a0bc6f6fc7a29a80017a433e8f03a1cc1236e838a944a2d034295a60c4f2fddb", dict(), 16),
    # Qwen2AudioProcessor of transformers
    ("qwen2_audio", "27d3d4c4d9935c5a2237ecd3d27e042758937a380bc550f7c7b77a6d9416aeda", dict(), 16),
    # trl 1.16 qwen3_instruct_2507.jinja
    ("qwen3_nothink", "64f85b198065d0fba2a81f37e10ed68161ce2c19a754c7100e67e0ca2ee9c326", dict(), 23),
    # trl 1.16 qwen3_vl.jinja
    ("qwen3_vl_nothink", "3636d0f0bd6bef02654cdffdc447b79cb2cef8ab02cc75267345946291a489e4", dict(), 22),
    # trl 1.16 qwen3_5_think.jinja
    ("qwen3_5", "a4aee8afcf2e0711942cf848899be66016f8d14a889ff9ede07bca099c28f715", dict(), 25),
    # trl 1.16 qwen3_5_nothink.jinja
    ("qwen3_5_nothink", "273d8e0e683b885071fb17e08d71e5f2a5ddfb5309756181681de4f5a1822d80", dict(), 21),
    # trl 1.16 qwen3_5_nothink.jinja
    (
        "qwen3_5_nothink",
        "273d8e0e683b885071fb17e08d71e5f2a5ddfb5309756181681de4f5a1822d80",
        dict(enable_thinking=True),
        25,
    ),
    # trl 1.16 qwen3_6.jinja
    ("qwen3_6", "e84f32a23fdda27689f868aa4a1a5621f41133e51a48d7f3efcbea2839574259", dict(), 25),
    # trl 1.16 qwen3_6.jinja
    ("qwen3_6", "e84f32a23fdda27689f868aa4a1a5621f41133e51a48d7f3efcbea2839574259", dict(preserve_thinking=True), 25),
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
    if digest not in AT_HAND:
        pytest.skip("the original is not at hand")
    assert count_alike(PACKAGE, name, AT_HAND[digest], **options) == number


def test_what_a_file_calls_an_original_is_compared_with():
    compared = {(name, digest) for name, digest, *_ in ORIGINALS}
    assert {(name, digest) for name in names(PACKAGE) for digest in read(PACKAGE, name).originals} <= compared


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
