"""The pack: the contract of packs, golden files, and the vendor's own templates where they are at hand."""

from pathlib import Path

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

import ft_plugin_templates_gemma.plugin as plugin
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


SCHEMA = {
    "type": "object",
    "properties": {
        "plain": {"type": "string", "description": "A text", "enum": ["a", "b"]},
        "Number": {"type": "number", "nullable": True},
        "list": {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": None}},
        "pairs": {
            "type": "array",
            "description": "Pairs",
            "items": {"type": ["object", "null"], "properties": {"x": {"type": "integer"}}, "required": ["x"]},
        },
        "inner": {"type": "object", "properties": {"y": {"type": "boolean"}}, "required": ["y"]},
        "open": {"type": "object"},
    },
    "required": ["plain", "inner"],
}
DEEP = (
    [{"role": "system", "content": " S "}, {"role": "user", "content": "Q"}],
    [{"type": "function", "function": {"name": "deep", "description": "Deep", "parameters": SCHEMA}}],
)


def original(digest):
    if digest not in find_originals():
        pytest.skip("the original is not at hand")
    return find_originals()[digest]


def renders_alike(name, jinja, *, thinks):
    """How many conversations ours and the original write alike, as prompts and whole (or before another question)."""
    facts = read(PACKAGE, name)
    tokenizer = tokenizer_for(facts)
    ours = ChatTemplate(facts, tokenizer, variables={"enable_thinking": thinks})
    compared = 0
    for title, (messages, tools) in (BATTERY | {"deep schema": DEEP}).items():
        if name == "gemma4" and title == "difficult arguments":
            continue  # this revision writes None where the later one writes null
        answers = [m for m in messages if m["role"] == "assistant"]
        # The prompt for the last answer shows a thought, or none, that a question later is gone.
        as_history = tools or (answers and (name == "gemma4" or messages[-2]["role"] == "tool"))
        forms = [([*messages, {"role": "user", "content": "Next?"}] if as_history else messages, False)]
        if messages[-1]["role"] == "user" or (len(messages) > 1 and messages[-2]["role"] == "user"):
            forms.append((messages if messages[-1]["role"] == "user" else messages[:-1], True))
        for turns, prompt in forms:
            try:
                text = ours.render(turns, tools=tools, generation_prompt=prompt)
            except RowError:
                break
            theirs, _ = render_jinja_template(
                [normal_messages(turns)],
                tools=tools or None,
                chat_template=jinja,
                add_generation_prompt=prompt,
                enable_thinking=thinks,
                **tokenizer.special_tokens_map,
            )
            assert text == theirs[0], title
        else:
            compared += 1
    return compared


# template, original, conversations that both write alike
ORIGINALS = [
    # trl 1.16 gemma4_v5.jinja, gemma-4-E2B-it
    ("gemma4n", "0a2c8073c878ab1da004bee933a998606537bbb62016310352c7285c3f01c5b5", 26),
    # llama.cpp: google-gemma-4-31B-it
    ("gemma4", "85a08664d16d8f3be4416c92427b3ac10df1024ac566cc0b4bc3bab409393f98", 25),
]


@pytest.mark.parametrize("thinks", [True, False])
@pytest.mark.parametrize(("name", "digest", "number"), ORIGINALS)
def test_a_template_writes_what_the_original_writes(name, digest, number, thinks):
    assert renders_alike(name, original(digest), thinks=thinks) == number


def test_gemma_3n_and_paligemma_chat_write_what_gemma_writes():
    for name in ("gemma3n", "paligemma_chat"):
        assert read(PACKAGE, name).chat_template == read("ft_plugin_templates", "gemma").chat_template


def test_a_call_ends_where_its_result_begins():
    facts = read(PACKAGE, "gemma4")
    tokenizer = tokenizer_for(facts)
    (row,) = ChatTemplate(facts, tokenizer).encode([BATTERY["tool with thoughts"]])
    trained = tokenizer.decode([i for i, weight in zip(row.input_ids, row.weights, strict=True) if weight])
    assert trained == (
        "<|channel>thought\nI should look it up\n<channel|>"
        '<|tool_call>call:get-weather{city:<|"|>Oslo<|"|>,days:2}<tool_call|><|tool_response>'
        "That is cold\n<channel|>It is freezing.<turn|>\n"
    )


def test_what_a_file_calls_an_original_is_compared_with():
    compared = {(name, digest) for name, digest, *_ in ORIGINALS}
    assert {(name, digest) for name in names(PACKAGE) for digest in read(PACKAGE, name).originals} <= compared
