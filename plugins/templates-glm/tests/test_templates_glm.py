"""The pack: the contract of packs, golden files, and the vendor's own templates where they are at hand (README.md)."""

import hashlib
import importlib.util
import json
import os
from pathlib import Path

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

import ft_plugin_templates_glm.plugin as plugin
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


def original(where):
    if not where.startswith("trl:"):
        if not (FOLDER / f"{where}.jinja").exists():
            pytest.skip("FTK_CONFORMANCE_DIR has no such template")
        return (FOLDER / f"{where}.jinja").read_text("utf-8")
    if (spec := importlib.util.find_spec("trl")) is None:
        pytest.skip("trl is not installed")
    return (Path(spec.origin).parent / "chat_templates" / f"{where.removeprefix('trl:')}.jinja").read_text("utf-8")


def as_glm4_takes_it(messages, tools):
    """Tools in a system message, calls as metadata, results as observations."""
    turns = []
    for message in messages:
        if message["role"] == "tool":
            message = {"role": "observation", "content": message["content"]}
        if calls := message.pop("tool_calls", ()):
            turns += [{"role": "assistant", "content": message["content"]}] if message["content"] else []
            for function in (call["function"] for call in calls):
                text = json.dumps(function["arguments"], ensure_ascii=False)
                turns.append({"role": "assistant", "metadata": function["name"], "content": text})
        else:
            turns.append(message)
    if tools and turns[0]["role"] != "system":
        turns.insert(0, {"role": "system", "content": ""})
    if tools:
        turns[0]["tools"] = tools
    return turns


def renders_alike(name, jinja, *, as_history, **settings):
    """How many conversations ours and the original write alike, as prompts and whole (or before another question)."""
    facts = read(PACKAGE, name)
    tokenizer = tokenizer_for(facts)
    ours = ChatTemplate(facts, tokenizer, variables=settings)
    compared = 0
    for title, (messages, tools) in BATTERY.items():
        if name in ("glm4", "chatglm3") and (title.startswith("empty") or title == "late system"):
            continue  # its original leaves empty turns out, and has another place for later system prompts
        ends = {"user": ""} if messages[-1]["role"] == "user" else {"assistant": "<|user|>"}
        whole = messages
        if as_history and "assistant" in ends:
            whole, ends = [*messages, {"role": "user", "content": "Next?"}], {"user": ""}
        forms = [(whole, False)]
        # A thought is shown, and in a prompt opened, until the next question.
        if not as_history or messages[-2:][0]["role"] == "user":
            forms.append((messages[:-1] or messages, True))
        for turns, prompt in forms:
            try:
                text = ours.render(turns, tools=tools, generation_prompt=prompt)
            except RowError:
                break
            normal = normal_messages(turns)
            theirs, _ = render_jinja_template(
                [as_glm4_takes_it(normal, tools) if name == "glm4" else normal],
                tools=tools or None,
                chat_template=jinja,
                add_generation_prompt=prompt,
                **tokenizer.special_tokens_map,
                **settings,
            )
            assert text == theirs[0] + ("" if prompt else ends.get(turns[-1]["role"], "")), title
        else:
            compared += 1
    return compared


# template, its original, whether whole conversations are compared as history, how many both render
ORIGINALS = [
    ("glm4_moe", "trl:glm4moe", False, 25),
    ("glm4_moe", "glm-4.6", False, 25),
    ("glm4_7", "glm-4.7-flash", True, 25),
    ("glm4", "glm-4-9b-chat", False, 18),
    ("chatglm3", "chatglm3", False, 11),
]


@pytest.mark.parametrize(("name", "where", "as_history", "number"), ORIGINALS)
def test_a_template_writes_what_the_original_writes(name, where, as_history, number):
    jinja = original(where)
    assert hashlib.sha256(jinja.encode()).hexdigest() in read(PACKAGE, name).originals
    assert renders_alike(name, jinja, as_history=as_history) == number


@pytest.mark.parametrize(
    ("name", "where", "settings"),
    [
        ("glm4_moe", "trl:glm4moe", {"enable_thinking": False}),
        ("glm4_7", "glm-4.7-flash", {"enable_thinking": False}),
    ],
)
def test_thinking_is_refused_as_the_original_does(name, where, settings):
    assert renders_alike(name, original(where), as_history=name == "glm4_7", **settings) == 25


@pytest.mark.parametrize("name", [name for name in names(PACKAGE) if name != "chatglm3"])
def test_a_call_ends_with_the_marker_of_its_results(name):
    facts = read(PACKAGE, name)
    tokenizer = tokenizer_for(facts)
    messages, tools = BATTERY["tool"]
    (row,) = ChatTemplate(facts, tokenizer).encode([(messages[:3], tools)])
    trained = tokenizer.decode([i for i, weight in zip(row.input_ids, row.weights, strict=True) if weight])
    assert trained.endswith("<|observation|>")
    assert "get-weather" in trained
