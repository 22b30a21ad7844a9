"""The pack: the contract of packs, golden files, and the vendor's own templates where they are at hand (README.md)."""

import hashlib
import importlib.util
import json
import os
from pathlib import Path

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

import ft_plugin_templates_deepseek.plugin as plugin
from ft_plugin_templates.battery import BATTERY
from ft_plugin_templates.contract import CHECKS, check_golden, tokenizer_for
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.messages import normal_messages
from ft_plugin_templates.pack import names, read
from ftk.problems import RowError
from ftk_sdk.contracts import PluginContract

PACKAGE = plugin.__package__
FOLDER = Path(os.environ.get("FTK_CONFORMANCE_DIR", "/nonexistent"))
PLAIN = [t for t, (messages, tools) in BATTERY.items() if not tools and all(m["role"] != "tool" for m in messages)]


class TestPlugin(PluginContract):
    plugin = plugin


@pytest.mark.parametrize("name", names(PACKAGE))
def test_a_template_renders_what_its_golden_file_says(name):
    check_golden(PACKAGE, name, Path(__file__).parent / "golden")


@pytest.mark.parametrize("name", names(PACKAGE))
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_template_keeps_the_contract(name, check):
    check(PACKAGE, name)


def original(where):
    if not where.startswith("trl:"):
        if not (FOLDER / f"{where}.jinja").exists():
            pytest.skip("FTK_CONFORMANCE_DIR has no such template")
        return (FOLDER / f"{where}.jinja").read_text("utf-8")
    if (spec := importlib.util.find_spec("trl")) is None:
        pytest.skip("trl is not installed")
    return (Path(spec.origin).parent / "chat_templates" / f"{where.removeprefix('trl:')}.jinja").read_text("utf-8")


def as_the_vendor_takes_it(message):
    """Calls with arguments as JSON text, and no content beside them."""
    message = json.loads(json.dumps(message))
    for call in message.get("tool_calls", ()):
        call["function"]["arguments"] = json.dumps(call["function"]["arguments"], ensure_ascii=False)
        message["content"] = message["content"] or None
    return message


def renders_alike(name, jinja, titles, *, as_history):
    """How many conversations ours and the original write alike, as prompts and whole (or before another question)."""
    facts = read(PACKAGE, name)
    tokenizer = tokenizer_for(facts)
    ours = ChatTemplate(facts, tokenizer)
    compared = 0
    for title in titles:
        messages, _ = BATTERY[title]
        # A thought is shown, and in a prompt opened, until the next question.
        forms = [([*messages, {"role": "user", "content": "Next?"}] if as_history else messages, False)]
        if title in PLAIN:
            forms.append((messages[:-1] or messages, True))
        for turns, prompt in forms:
            try:
                text = ours.render(turns, generation_prompt=prompt)
            except RowError:
                break
            theirs, _ = render_jinja_template(
                [[as_the_vendor_takes_it(message) for message in normal_messages(turns)]],
                chat_template=jinja,
                add_generation_prompt=prompt,
                **tokenizer.special_tokens_map,
            )
            assert text == theirs[0], title
        else:
            compared += 1
    return compared


CALLS = ["tool", "tool, then another question", "call without schemas", "difficult arguments", "text beside a call"]

# template, its original, conversations, whether whole ones are compared as history, how many both render
ORIGINALS = [
    ("deepseek", "deepseek-llm-7b-chat", PLAIN, False, 16),
    ("deepseek", "deepseek-coder-v2", PLAIN, False, 16),
    ("deepseekcoder", "deepseek-coder-1.3b-instruct", PLAIN, False, 15),
    ("deepseek3", "deepseek-v3", [*PLAIN, "parallel calls"], False, 17),
    ("deepseekr1", "trl:deepseekv3", [*PLAIN, *CALLS], True, 23),
    ("deepseekr1", "trl:deepseek_r1_distill", [*PLAIN, "parallel calls"], True, 19),
]


@pytest.mark.parametrize(("name", "where", "titles", "as_history", "number"), ORIGINALS)
def test_a_template_writes_what_the_original_writes(name, where, titles, as_history, number):
    jinja = original(where)
    assert hashlib.sha256(jinja.encode()).hexdigest() in read(PACKAGE, name).originals
    assert renders_alike(name, jinja, titles, as_history=as_history) == number


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
