"""The pack: the contract of packs, golden files, and the vendor's own templates where they are at hand (README.md)."""

import hashlib
import os
from pathlib import Path

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

import ft_plugin_templates_hunyuan.plugin as plugin
from ft_plugin_templates.battery import BATTERY
from ft_plugin_templates.contract import CHECKS, check_golden, tokenizer_for
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.messages import normal_messages
from ft_plugin_templates.pack import names, read
from ftk.problems import RowError
from ftk_sdk.contracts import PluginContract

PACKAGE = plugin.__package__
FOLDER = Path(os.environ.get("FTK_CONFORMANCE_DIR", "/nonexistent"))


class TestPlugin(PluginContract):
    plugin = plugin


@pytest.mark.parametrize("name", names(PACKAGE))
def test_a_template_renders_what_its_golden_file_says(name):
    check_golden(PACKAGE, name, Path(__file__).parent / "golden")


@pytest.mark.parametrize("name", names(PACKAGE))
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_template_keeps_the_contract(name, check):
    check(PACKAGE, name)


# The time of day that the original of hunyuan writes, made the one that ours does.
CLOCK = {"%A": "Friday", "%Y-%m-%d %H:%M:%S": "2025-06-27 12:00:00"}


def renders_alike(name, where, settings, theirs):
    """How many conversations ours and the original write alike, whole and as prompts."""
    if not (FOLDER / f"{where}.jinja").exists():
        pytest.skip("FTK_CONFORMANCE_DIR has no such template")
    jinja = (FOLDER / f"{where}.jinja").read_text("utf-8")
    facts = read(PACKAGE, name)
    assert hashlib.sha256(jinja.encode()).hexdigest() in facts.originals
    for form, then in CLOCK.items():
        jinja = jinja.replace(f"strftime_now('{form}')", f"'{then}'")
    tokenizer = tokenizer_for(facts)
    ours = ChatTemplate(facts, tokenizer, variables=settings)
    compared = 0
    for title, (messages, tools) in BATTERY.items():
        if title == "thought in the text" or (
            name == "hunyuan" and ("thought" in title or messages[0]["content"] == "")
        ):
            continue  # the originals know no thought in the text; that of hunyuan knows none, and no empty beginning
        for turns, prompt in ((messages, False), (messages[:-1] or messages, True)):
            try:
                text = ours.render(turns, tools=tools, generation_prompt=prompt)
            except RowError:
                break
            (expected,), _ = render_jinja_template(
                [normal_messages(turns)],
                tools=tools or None,
                chat_template=jinja,
                add_generation_prompt=prompt,
                **tokenizer.special_tokens_map,
                **theirs,
            )
            assert text == expected, title
        else:
            compared += 1
    return compared


def test_hunyuan_writes_what_the_original_writes():
    assert renders_alike("hunyuan", "hunyuan-a13b", {}, {}) == 16


@pytest.mark.parametrize(("thinks", "effort"), [(True, "high"), (False, "no_think")])
def test_hy3_writes_what_the_original_writes(thinks, effort):
    settings = {"enable_thinking": thinks, "preserve_thinking": True}
    assert renders_alike("hy3", "hy3", settings, {"reasoning_effort": effort, "is_training": True}) == 25


def test_the_answer_of_hunyuan_after_a_thought_is_in_tags():
    facts = read(PACKAGE, "hunyuan")
    tokenizer = tokenizer_for(facts)
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "reasoning_content": "T"}]
    (row,) = ChatTemplate(facts, tokenizer).encode([(messages, ())])
    trained = tokenizer.decode([i for i, weight in zip(row.input_ids, row.weights, strict=True) if weight])
    assert trained == "<think>\nT\n</think>\n<answer>\na\n</answer><|eos|>"
