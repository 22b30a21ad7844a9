"""The pack: the contract of packs, golden files, and the vendor's own template where it is at hand (README.md)."""

import hashlib
import os
from pathlib import Path

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

import ft_plugin_templates_mimo.plugin as plugin
from ft_plugin_templates.battery import BATTERY
from ft_plugin_templates.contract import CHECKS, check_golden, tokenizer_for
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.messages import normal_messages
from ft_plugin_templates.pack import names, read
from ftk_sdk.contracts import PluginContract

PACKAGE = plugin.__package__
ORIGINAL = Path(os.environ.get("FTK_CONFORMANCE_DIR", "/nonexistent")) / "mimo-vl.jinja"


class TestPlugin(PluginContract):
    plugin = plugin


@pytest.mark.parametrize("name", names(PACKAGE))
def test_a_template_renders_what_its_golden_file_says(name):
    check_golden(PACKAGE, name, Path(__file__).parent / "golden")


@pytest.mark.parametrize("name", names(PACKAGE))
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_template_keeps_the_contract(name, check):
    check(PACKAGE, name)


@pytest.mark.skipif(not ORIGINAL.exists(), reason="FTK_CONFORMANCE_DIR has no mimo-vl.jinja")
@pytest.mark.parametrize("title", [t for t, (m, _) in BATTERY.items() if not any("reasoning_content" in x for x in m)])
def test_mimo_vl_writes_what_the_original_writes(title):
    facts = read(PACKAGE, "mimo_vl")
    jinja = ORIGINAL.read_text("utf-8")
    assert hashlib.sha256(jinja.encode()).hexdigest() in facts.originals
    tokenizer = tokenizer_for(facts)
    messages, tools = BATTERY[title]
    for turns, prompt in ((messages, False), (messages[:-1] or messages, True)):
        text = ChatTemplate(facts, tokenizer).render(turns, tools=tools, generation_prompt=prompt)
        theirs, _ = render_jinja_template(
            [normal_messages(turns)],
            tools=tools or None,
            chat_template=jinja,
            add_generation_prompt=prompt,
            **tokenizer.special_tokens_map,
        )
        assert text == theirs[0]


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
