"""The pack: the contract of packs, golden files, and the vendor's own templates where they are at hand (README.md)."""

import hashlib
import importlib.util
import os
from pathlib import Path

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

import ft_plugin_templates_gemma.plugin as plugin
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


def original(where):
    if not where.startswith("trl:"):
        if not (FOLDER / f"{where}.jinja").exists():
            pytest.skip("FTK_CONFORMANCE_DIR has no such template")
        return (FOLDER / f"{where}.jinja").read_text("utf-8")
    if (spec := importlib.util.find_spec("trl")) is None:
        pytest.skip("trl is not installed")
    return (Path(spec.origin).parent / "chat_templates" / f"{where.removeprefix('trl:')}.jinja").read_text("utf-8")


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


@pytest.mark.parametrize("thinks", [True, False])
@pytest.mark.parametrize(
    ("name", "where", "number"), [("gemma4n", "trl:gemma4_v5", 26), ("gemma4", "gemma-4-31b-it", 25)]
)
def test_a_template_writes_what_the_original_writes(name, where, number, thinks):
    jinja = original(where)
    assert hashlib.sha256(jinja.encode()).hexdigest() in read(PACKAGE, name).originals
    assert renders_alike(name, jinja, thinks=thinks) == number


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
