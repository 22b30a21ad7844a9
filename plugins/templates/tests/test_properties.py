"""Whatever a conversation holds: no traceback, no lost text, and loss on the answers that are to carry it alone."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ft_plugin_templates.contract import tokenizer_for
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.pack import names, read
from ftk.contracts import Tokens
from ftk.problems import RowError

PACKAGE = "ft_plugin_templates"
NAMES = [name for name in names(PACKAGE) if not read(PACKAGE, name).is_alias]
# Letters tell afterwards who said what.
LETTERS = {
    "system": "\u05d0\u05d1\u05d2",  # Hebrew
    "user": "\u03b1\u03b2\u03b3",  # Greek
    "tool": "\u0431\u0434\u0436",  # Cyrillic
    "assistant": "abc",
    "muted": "\u0565\u0566\u0569",  # Armenian: answers of weight 0
}
PROMPTS = "".join(letters for who, letters in LETTERS.items() if who != "assistant")
NOISE = ["<|im_end|>", "<|eot_id|>", "</s>", "<end_of_turn>", "\U000f0000", "{{", "%}", "\n", " ", '"', "\\", "\u200d"]


def words(who, *noise):
    return st.lists(st.text(LETTERS[who], min_size=1, max_size=4) | st.sampled_from([*NOISE, *noise]), max_size=5).map(
        "".join
    )


VALUES = st.recursive(
    words("assistant") | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words("assistant"), inner, max_size=2),
    max_leaves=4,
)
CALLS = st.builds(
    lambda name, arguments, i: {
        "type": "function",
        "id": f"call{i:05}",
        "function": {"name": name, "arguments": arguments},
    },
    st.from_regex(r"[a-c_.-]{1,8}", fullmatch=True),
    st.dictionaries(words("assistant"), VALUES, max_size=3),
    st.integers(0, 99999),
)
TOOLS = st.builds(
    lambda name, about: {"type": "function", "function": {"name": name, "description": about, "parameters": {}}},
    st.from_regex(r"[a-c]{1,8}", fullmatch=True),
    words("tool"),
)


@st.composite
def answers(draw, weights=(None, 1.0, 0.0)):
    weight = draw(st.sampled_from(weights))
    who = "muted" if weight == 0 else "assistant"
    message = {"role": "assistant", "content": draw(words(who, "<think>", "</think>"))}
    if weight is not None:
        message["weight"] = weight
    if draw(st.integers(0, 3)) == 0:
        message["reasoning_content"] = draw(words(who))
    if who == "assistant" and draw(st.integers(0, 3)) == 0:
        message["tool_calls"] = draw(st.lists(CALLS, min_size=1, max_size=2))
    return message


def said(role):
    return st.builds(lambda content: {"role": role, "content": content}, words(role))


TURNS = st.tuples(said("user"), st.lists(st.tuples(answers(), said("tool")), max_size=1), answers()).map(
    lambda turn: [turn[0], *(m for pair in turn[1] for m in pair), turn[2]]
)
ORDERLY = st.tuples(st.lists(said("system"), max_size=1), st.lists(TURNS, min_size=1, max_size=3)).map(
    lambda parts: [*parts[0], *(message for turn in parts[1] for message in turn)]
)
ANYHOW = st.lists(said("system") | said("user") | said("tool") | answers(), max_size=6)


@cache
def bound(name, *variables):
    facts = read(PACKAGE, name)
    tokenizer = tokenizer_for(facts)
    return ChatTemplate(facts, tokenizer, variables=dict(variables)), tokenizer


def runs(tokenizer, row):
    """The text, and what of it carries loss."""
    trained = tokenizer.decode([token for token, weight in zip(row.input_ids, row.weights, strict=True) if weight])
    return tokenizer.decode(row.input_ids), trained


@settings(max_examples=25, deadline=None)
@given(
    messages=ORDERLY | ANYHOW, tools=st.lists(TOOLS, max_size=1), train_on=st.sampled_from(["assistant", "last", "all"])
)
@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_refused_or_its_tokens_are_the_rendering(name, messages, tools, train_on):
    template, tokenizer = bound(name)
    (row,) = template.encode([(messages, tools)], train_on=train_on)
    if isinstance(row, RowError):
        assert str(row)
        return
    text, trained = runs(tokenizer, row)
    assert text == template.render(messages, tools=tools)
    if train_on == "all":
        assert not set(trained) & set(LETTERS["muted"])
    else:
        assert not set(trained) & set(PROMPTS), "a prompt, a tool's result or a muted answer carries loss"
        assert trained.rstrip().endswith(template.stop)


@settings(max_examples=25, deadline=None)
@given(turns=st.lists(st.tuples(words("user"), st.text("abc", min_size=1, max_size=9)), min_size=1, max_size=4))
@pytest.mark.parametrize("name", NAMES)
def test_every_answer_carries_loss_to_its_end_and_the_last_alone_when_asked(name, turns):
    template, tokenizer = bound(name)
    messages = [m for u, a in turns for m in ({"role": "user", "content": u}, {"role": "assistant", "content": a})]
    every, last = (template.encode([(messages, ())], train_on=t)[0] for t in ("assistant", "last"))
    assert isinstance(every, Tokens)
    assert isinstance(last, Tokens)
    assert every.input_ids == last.input_ids
    prompt = template.encode_prompt(messages[:-1])
    assert every.input_ids[: len(prompt)] == prompt
    assert last.weights == [0.0] * len(prompt) + [1.0] * (len(last.weights) - len(prompt))
    assert every.weights[len(prompt) :] == last.weights[len(prompt) :]
    trained = runs(tokenizer, every)[1]
    for _, answer in turns:
        at = trained.find(answer)
        assert at >= 0, "an answer carries no loss"
        trained = trained[at + len(answer) :]


@settings(max_examples=25, deadline=None)
@given(
    messages=ORDERLY,
    thinks=st.sampled_from([None, True, False]),
    preserves=st.booleans(),
    train_on=st.sampled_from(["assistant", "last"]),
)
def test_settings_of_thoughts_change_no_law(messages, thinks, preserves, train_on):
    template, tokenizer = bound("qwen3", ("enable_thinking", thinks), ("preserve_thinking", preserves))
    (row,) = template.encode([(messages, ())], train_on=train_on)
    if isinstance(row, RowError):
        assert "carries loss" in str(row)
        return
    text, trained = runs(tokenizer, row)
    assert text == template.render(messages)
    assert not set(trained) & set(PROMPTS)


BROKEN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "tool_calls", "function", "name", "arguments", "weight", "type", "text"]
            ),
            inner | st.sampled_from(["user", "assistant", "tool", "system", "text"]),
            max_size=4,
        )
    ),
    max_leaves=8,
)


KEYS = ["role", "content", "tool_calls", "weight", "reasoning_content", "name"]
ROLES = st.sampled_from(["system", "user", "assistant", "tool"])
MESSAGES = st.lists(st.dictionaries(st.sampled_from(KEYS), BROKEN | ROLES, max_size=4), max_size=3)


@settings(max_examples=120, deadline=None)
@given(messages=MESSAGES, tools=st.lists(BROKEN, max_size=2))
def test_broken_rows_are_refused_with_a_reason(messages, tools):
    (row,) = bound("qwen3")[0].encode([(messages, tools)])
    assert isinstance(row, Tokens) or str(row)
