"""The pack: the contract of packs, golden files, and the vendor's own templates where they are installed."""

import hashlib
import importlib.util
from pathlib import Path

import pytest
from transformers import Qwen2AudioProcessor
from transformers.utils.chat_template_utils import render_jinja_template

import ft_plugin_templates_qwen.plugin as plugin
from ft_plugin_templates.battery import BATTERY
from ft_plugin_templates.contract import CHECKS, check_golden, tokenizer_for
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.messages import normal_messages
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


# template, where its original is installed, conversations that both render
ORIGINALS = [
    ("qwen2_vl", "trl:qwen2_5_vl", 16),
    ("qwen2_audio", "Qwen2AudioProcessor", 16),
    ("qwen3_nothink", "trl:qwen3_instruct_2507", 23),
    ("qwen3_vl_nothink", "trl:qwen3_vl", 22),
    ("qwen3_5", "trl:qwen3_5_think", 25),
    ("qwen3_5_nothink", "trl:qwen3_5_nothink", 21),
    ("qwen3_6", "trl:qwen3_6", 25),
]


def original(where):
    if where == "Qwen2AudioProcessor":
        return Qwen2AudioProcessor.default_chat_template.fget(None)
    if (spec := importlib.util.find_spec("trl")) is None:
        pytest.skip("trl is not installed")
    return (Path(spec.origin).parent / "chat_templates" / f"{where.removeprefix('trl:')}.jinja").read_text("utf-8")


def renders_alike(name, jinja, **settings):
    """How many conversations of the battery ours and the original write alike, whole and as prompts."""
    facts = read(PACKAGE, name)
    tokenizer = tokenizer_for(facts)
    ours = ChatTemplate(facts, tokenizer, variables=settings)
    compared = 0
    for title, (messages, tools) in BATTERY.items():
        has_tools = tools or any(m["role"] == "tool" for m in messages)
        if has_tools and "tools" not in jinja:
            continue
        for turns, prompt in ((messages, False), (messages[:-1] or messages, True)):
            try:
                text = ours.render(turns, tools=tools, generation_prompt=prompt)
            except RowError:
                break
            theirs, _ = render_jinja_template(
                [normal_messages(turns)],
                tools=tools or None,
                chat_template=jinja,
                add_generation_prompt=prompt,
                **tokenizer.special_tokens_map,
                **settings,
            )
            assert text == theirs[0], title
        else:
            compared += 1
    return compared


@pytest.mark.parametrize(("name", "where", "number"), ORIGINALS)
def test_a_template_writes_what_the_original_writes(name, where, number):
    jinja = original(where)
    assert hashlib.sha256(jinja.encode()).hexdigest() in read(PACKAGE, name).originals
    assert renders_alike(name, jinja) == number


@pytest.mark.parametrize(
    ("name", "where", "settings"),
    [
        ("qwen3_5_nothink", "trl:qwen3_5_nothink", {"enable_thinking": True}),
        ("qwen3_6", "trl:qwen3_6", {"preserve_thinking": True}),
    ],
)
def test_the_settings_of_an_original_do_what_they_do_there(name, where, settings):
    assert renders_alike(name, original(where), **settings) == 25


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
