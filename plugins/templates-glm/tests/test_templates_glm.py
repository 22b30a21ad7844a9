"""The pack: the contract of packs, golden files, and the vendor's own templates where they are at hand."""

import json
from pathlib import Path

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

import ft_plugin_templates_glm.plugin as plugin
from ft_plugin_templates.battery import BATTERY
from ft_plugin_templates.contract import CHECKS, check_golden, tokenizer_for
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.messages import normal_messages
from ft_plugin_templates.originals import find_originals
from ft_plugin_templates.pack import names, read
from ftk.problems import RowError
from ftk_sdk.contracts import PluginContract

PACKAGE = plugin.__package__


class TestPlugin(PluginContract):
    plugin = plugin


@pytest.mark.parametrize("name", names(PACKAGE))
def test_a_template_renders_what_its_golden_file_says(name):
    check_golden(PACKAGE, name, Path(__file__).parent / "golden")


@pytest.mark.parametrize("name", names(PACKAGE))
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_template_keeps_the_contract(name, check):
    check(PACKAGE, name)


def original(digest):
    if digest not in find_originals():
        pytest.skip("the original is not at hand")
    return find_originals()[digest]


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
    # trl 1.16 glm4moe.jinja
    ("glm4_moe", "44f815868bf02fa458dd2f741a338046f4bf45f398eb6d067766726b9d96cce3", False, 25),
    # llama.cpp: GLM-4.6
    ("glm4_moe", "f777778f775abe19c0f4bd576078d20a51ba8472139bde6852ea4490ec07398b", False, 25),
    # llama.cpp: GLM-4.7-Flash
    ("glm4_7", "d63ad536c3c81880043e22ec7fd08db42b4d8fb7c89c7138bc562bfa25281375", True, 25),
    # ollama-utils: glm4:9b
    ("glm4", "27288f957f8364c990a2ce13bf5f8bf86921c4bce467ce698c76dcc69466d821", False, 18),
    # llama.cpp's tests: ChatGLM3
    ("chatglm3", "e4496f930bf7b7bc7e7cf8232e90fd43ab4a9d8eb9c77f6ec98f5beb5c5cbeaa", False, 11),
]


@pytest.mark.parametrize(("name", "digest", "as_history", "number"), ORIGINALS)
def test_a_template_writes_what_the_original_writes(name, digest, as_history, number):
    assert renders_alike(name, original(digest), as_history=as_history) == number


@pytest.mark.parametrize(
    ("name", "digest", "settings"),
    [
        ("glm4_moe", "44f815868bf02fa458dd2f741a338046f4bf45f398eb6d067766726b9d96cce3", {"enable_thinking": False}),
        ("glm4_7", "d63ad536c3c81880043e22ec7fd08db42b4d8fb7c89c7138bc562bfa25281375", {"enable_thinking": False}),
    ],
)
def test_thinking_is_refused_as_the_original_does(name, digest, settings):
    assert renders_alike(name, original(digest), as_history=name == "glm4_7", **settings) == 25


@pytest.mark.parametrize("name", [name for name in names(PACKAGE) if name != "chatglm3"])
def test_a_call_ends_with_the_marker_of_its_results(name):
    facts = read(PACKAGE, name)
    tokenizer = tokenizer_for(facts)
    messages, tools = BATTERY["tool"]
    (row,) = ChatTemplate(facts, tokenizer).encode([(messages[:3], tools)])
    trained = tokenizer.decode([i for i, weight in zip(row.input_ids, row.weights, strict=True) if weight])
    assert trained.endswith("<|observation|>")
    assert "get-weather" in trained


def test_what_a_file_calls_an_original_is_compared_with():
    compared = {(name, digest) for name, digest, *_ in ORIGINALS}
    assert {(name, digest) for name in names(PACKAGE) for digest in read(PACKAGE, name).originals} <= compared
