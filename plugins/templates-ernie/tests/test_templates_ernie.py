"""The pack: the contract of packs, golden files, and the vendor's own template where it is at hand (README.md)."""

import hashlib
import os
from pathlib import Path

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

import ft_plugin_templates_ernie.plugin as plugin
from ft_plugin_templates.battery import BATTERY
from ft_plugin_templates.contract import CHECKS, check_golden, tokenizer_for
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.messages import normal_messages
from ft_plugin_templates.pack import names, read
from ftk.problems import RowError
from ftk_sdk.contracts import PluginContract

PACKAGE = plugin.__package__
ORIGINAL = Path(os.environ.get("FTK_CONFORMANCE_DIR", "/nonexistent")) / "ernie-4.5.jinja"


class TestPlugin(PluginContract):
    plugin = plugin


@pytest.mark.parametrize("name", names(PACKAGE))
def test_a_template_renders_what_its_golden_file_says(name):
    check_golden(PACKAGE, name, Path(__file__).parent / "golden")


@pytest.mark.parametrize("name", names(PACKAGE))
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_template_keeps_the_contract(name, check):
    check(PACKAGE, name)


@pytest.mark.skipif(not ORIGINAL.exists(), reason="FTK_CONFORMANCE_DIR has no ernie-4.5.jinja")
def test_ernie_nothink_writes_what_the_original_writes():
    facts = read(PACKAGE, "ernie_nothink")
    jinja = ORIGINAL.read_text("utf-8")
    assert hashlib.sha256(jinja.encode()).hexdigest() in facts.originals
    tokenizer = tokenizer_for(facts)
    ours = ChatTemplate(facts, tokenizer)
    compared = 0
    for title, (messages, tools) in BATTERY.items():
        for turns, prompt in ((messages, False), (messages[:-1] or messages, True)):
            try:
                text = ours.render(turns, tools=tools, generation_prompt=prompt)
            except RowError:
                break
            theirs, _ = render_jinja_template(
                [normal_messages(turns)],
                chat_template=jinja,
                add_generation_prompt=prompt,
                **tokenizer.special_tokens_map,
            )
            assert text == theirs[0], title
        else:
            compared += 1
    assert compared == 16


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
