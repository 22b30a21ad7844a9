"""Text, token ids and loss weights."""

import pickle
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.pack import Facts, read
from ftk.contracts import Tokens
from ftk.problems import RowError, RunError
from ftk_sdk.tiny import CHATML, tiny_tokenizer

TOKENIZER = tiny_tokenizer(extra_tokens=("<|endofturn|>",))
TOKENIZER.add_tokens(["<think>", "</think>", "<tool_response>", "</tool_response>"])


def user(text):
    return {"role": "user", "content": text}


def answer(text, **more):
    return {"role": "assistant", "content": text, **more}


def bound(name, **options):
    return ChatTemplate(read("ft_plugin_templates", name), TOKENIZER, **options)


def own(chat_template):
    return ChatTemplate(Facts(name="own", chat_template=chat_template), TOKENIZER)


def trained(template, messages, tools=(), **options):
    """The stretches of text that carry loss, each with its weight."""
    (row,) = template.encode([(messages, tools)], **options)
    if isinstance(row, RowError):
        raise row
    runs = []
    for token, weight in zip(row.input_ids, row.weights, strict=True):
        if runs and runs[-1][1] == weight:
            runs[-1][0].append(token)
        else:
            runs.append(([token], weight))
    return [(TOKENIZER.decode(ids), weight) for ids, weight in runs if weight]


CHAT = [user("one?"), answer("first"), user("two?"), answer("second")]


@pytest.mark.parametrize("template", [bound("chatml"), own(CHATML)], ids=["marked", "turn by turn"])
class TestMasks:
    def test_answers_carry_loss_to_the_newline_after_their_end(self, template):
        assert trained(template, CHAT) == [("first<|im_end|>\n", 1), ("second<|im_end|>\n", 1)]

    def test_the_last_answer_alone(self, template):
        assert trained(template, CHAT, train_on="last") == [("second<|im_end|>\n", 1)]

    def test_prompts_too(self, template):
        assert trained(template, CHAT, train_on="all") == [(template.render(CHAT), 1)]

    def test_a_turn_of_weight_zero_is_masked_and_other_weights_scale(self, template):
        messages = [CHAT[0], answer("first", weight=0), CHAT[2], answer("second", weight=0.5)]
        assert trained(template, messages) == [("second<|im_end|>\n", 0.5)]
        everything = trained(template, messages, train_on="all")
        assert ("second<|im_end|>\n", 0.5) in everything
        assert not any("first" in text for text, _ in everything)

    def test_a_row_without_an_answer_that_counts_is_refused(self, template):
        for messages in ([user("hi")], [user("hi"), answer("yo", weight=0)]):
            with pytest.raises(RowError, match="no token of it carries loss"):
                trained(template, messages)

    def test_results_come_in_the_order_of_the_rows(self, template):
        rows = [(CHAT[:2], ()), ([], ()), ([{"role": "robot", "content": "x"}], ()), (CHAT, ())]
        first, empty, strange, last = template.encode(rows)
        assert "the conversation is empty" in str(empty)
        assert "turn 1 (robot): the role is none of" in str(strange)
        assert [first, last] == [template.encode([rows[0]])[0], template.encode([rows[3]])[0]]


REWRITES = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and not loop.last %}{{ 'old ' }}{% endif %}{{ m.content + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_a_template_that_rewrites_earlier_turns_is_refused_naming_the_turn():
    with pytest.raises(RowError, match=r"turn 2: the template rewrites it .* set mask_history: true"):
        trained(own(REWRITES), CHAT)
    assert trained(own(REWRITES), CHAT, train_on="last") == [("second<|im_end|>", 1)]
    assert trained(own(REWRITES), [CHAT[0], answer("first", weight=0), *CHAT[2:]]) == [("second<|im_end|>", 1)]


def test_a_template_that_always_asks_for_an_answer_is_refused():
    always = CHATML.replace("{% if add_generation_prompt %}", "{% if true %}")
    with pytest.raises(RowError, match="turn 2: the template rewrites it"):
        trained(own(always), CHAT)


def test_a_message_may_have_several_marked_stretches():
    twice = (
        "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ 'a' }}{% endgeneration %}{{ '|' }}"
        "{% generation %}{{ m.content + eos_token }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}"
    )
    assert trained(own(twice), CHAT, train_on="last") == [("a", 1), ("second<|im_end|>", 1)]
    assert trained(own(twice), [CHAT[0], answer("first", weight=2), *CHAT[2:]])[:2] == [
        ("a", 2),
        ("first<|im_end|>", 2),
    ]


def test_an_answer_of_which_nothing_is_marked_is_refused():
    fewer = (
        "{% for m in messages %}{% if m.role == 'assistant' and loop.last %}{% generation %}{{ m.content }}"
        "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}"
    )
    with pytest.raises(RowError, match="turn 2: template 'own' marks nothing of it"):
        trained(own(fewer), CHAT)
    assert trained(own(fewer), CHAT, train_on="last") == [("second", 1)]


def test_an_answer_never_shares_a_token_with_its_prompt():
    ids = TOKENIZER("the quick", add_special_tokens=False)["input_ids"]
    (row,) = bound("empty").encode([([user("the qu"), answer("ick")], ())])
    prompt = bound("empty").encode_prompt([user("the qu")])
    assert row.input_ids[: len(prompt)] == prompt
    assert row.input_ids[:-1] != ids
    assert trained(bound("empty"), [user("the qu"), answer("ick")]) == [("ick<|im_end|>", 1)]


def test_thoughts_before_the_last_question_are_dropped_unless_preserved():
    messages = [user("a"), answer("x", reasoning_content="T1"), user("b"), answer("<think>\nT2\n</think>\n\ny")]
    end = "<|im_end|>\n"
    assert trained(bound("qwen3"), messages) == [(f"x{end}", 1), (f"<think>\nT2\n</think>\n\ny{end}", 1)]
    kept = trained(bound("qwen3", variables={"preserve_thinking": True}), messages)
    assert kept == [(f"<think>\nT1\n</think>\n\nx{end}", 1), (f"<think>\nT2\n</think>\n\ny{end}", 1)]


def test_an_empty_thought_carries_loss_only_when_the_model_itself_must_write_it():
    messages, end = [user("a"), answer("x")], "<|im_end|>\n"
    assert trained(bound("qwen3"), messages) == [(f"<think>\n\n</think>\n\nx{end}", 1)]
    for value in (False, None):
        template = bound("qwen3", variables={"enable_thinking": value})
        assert template.render(messages) == bound("qwen3").render(messages)
        assert trained(template, messages) == [(f"x{end}", 1)]


def test_without_thinking_the_thoughts_of_the_data_are_taken_out():
    template = bound("qwen3", variables={"enable_thinking": False}, keep_thoughts=False)
    for said in (answer("x", reasoning_content="T"), answer("<think>\nT\n</think>\n\nx")):
        assert template.render([user("a"), said]) == template.render([user("a"), answer("x")])
        prompt = template.encode_prompt([user("a")])
        (row,) = template.encode([([user("a"), said], ())])
        assert row.input_ids[: len(prompt)] == prompt


@pytest.mark.parametrize(
    ("name", "messages", "tools", "reason"),
    [
        ("chatml", CHAT, [{"name": "f"}], "has no place for tool schemas"),
        ("chatml", [user("a"), answer("", tool_calls=[{"name": "f"}])], [], "turn 2: template 'chatml' has no place"),
        ("chatml", [user("a"), answer("x", reasoning_content="T")], [], "no place for reasoning_content"),
        ("llama3", [user("a"), answer("x", tool_calls=[{"name": "f"}])], [], "turn 2: .* drops the text"),
        ("gemma", [user("a"), user("b"), answer("x")], [], "the template cannot render it: .* must take turns"),
    ],
)
def test_what_a_template_would_lose_is_refused(name, messages, tools, reason):
    with pytest.raises(RowError, match=reason):
        trained(bound(name), messages, tools)


def test_a_template_can_be_sent_to_another_process():
    template = bound("qwen3", variables={"enable_thinking": False})
    rows = [([user("a <|im_end|> b"), answer("x")], ())]
    before = template.encode(rows)
    again = pickle.loads(pickle.dumps(template))
    assert again.encode(rows) == before
    assert again.fingerprint == template.fingerprint != bound("qwen3").fingerprint


def test_a_tokenizer_in_python_is_refused():
    class Slow:
        is_fast, eos_token, special_tokens_map = False, "x", {}

    with pytest.raises(RunError, match="Slow is none"):
        ChatTemplate(read("ft_plugin_templates", "chatml"), Slow())


once = cache(bound)
"""For fuzzing: making a template takes longer than rendering with it."""
TEXT = st.text(max_size=30) | st.lists(
    st.sampled_from(["<|im_end|>", "<|im_start|>", "<|endofturn|>", "<think>", "</think>", "\U000f0000", "\U000f0001"])
    | st.text(max_size=4),
    max_size=6,
).map("".join)


@settings(max_examples=80, deadline=None)
@given(question=TEXT, said=TEXT)
@pytest.mark.parametrize("name", ["chatml", "qwen3", "default", "empty", "llama3"])
def test_whatever_is_said_tokens_spell_the_text_and_no_control_token_is_forged(name, question, said):
    template = once(name)
    messages = [user(question), answer(said)]
    (row,) = template.encode([(messages, ())])
    assert isinstance(row, Tokens)
    assert TOKENIZER.decode(row.input_ids) == template.render(messages)
    control = TOKENIZER.all_special_ids
    (plain,) = template.encode([([user("q"), answer("a")], ())])
    assert [i for i in row.input_ids if i in control] == [i for i in plain.input_ids if i in control]
    if "think" not in said:
        prompt = template.encode_prompt(messages[:1])
        assert row.input_ids[: len(prompt)] == prompt
        assert not any(row.weights[: len(prompt)])
        assert all(row.weights[len(prompt) :])
