"""Conversations that are too long: what goes, what stays, and what the ledger says of it."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ft_plugin_data.truncation import Fitting, TooLong
from ft_plugin_sft.stage import SftEncoder
from ftk.problems import RowError, RunError
from ftk_sdk.testing import make_run
from ftk_sdk.tiny import tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def template(tokenizer):
    return make_run({"template": "qwen3"}, components=["template:qwen3"]).load_template(tokenizer)


def user(text):
    return {"role": "user", "content": text}


def answer(text, **more):
    return {"role": "assistant", "content": text, **more}


TALK = [
    {"role": "system", "content": "be brief"},
    user("one two three"),
    answer("four five six seven"),
    user("eight nine"),
    answer("ten eleven twelve thirteen fourteen"),
]


def length(template, messages, tools=()):
    return len(template.encode([(messages, tools)])[0].input_ids)


def fit(template, messages, cutoff_len, policy="right", tools=(), **keys):
    return Fitting(template, cutoff_len=cutoff_len, policy=policy, **keys).encode([(messages, tools)])[0]


def test_a_conversation_that_fits_is_left_alone(template):
    fitted = fit(template, TALK, length(template, TALK))
    assert fitted.tokens == template.encode([(TALK, ())])[0]
    assert [fitted.truncated, fitted.where] == [0, ""]


def test_right_cuts_the_text_of_the_last_answer_and_keeps_what_follows_it(template, tokenizer):
    whole = template.encode([(TALK, ())])[0]
    fitted = fit(template, TALK, len(whole.input_ids) - 6)
    assert [len(fitted.tokens.input_ids), fitted.truncated] == [len(whole.input_ids) - 6, 6]
    assert fitted.where == "the end of turn 5"
    text = tokenizer.decode(whole.input_ids)
    cut = tokenizer.decode(fitted.tokens.input_ids)
    marker = text[text.rindex("fourteen") + len("fourteen") :]
    assert "<|im_end|>" in marker
    assert cut.endswith(marker)
    assert text.startswith(cut.removesuffix(marker))
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert fitted.tokens.weights[fitted.tokens.input_ids.index(end, -3)] == 1


def test_right_leaves_out_turns_that_have_no_room(template):
    short = length(template, TALK[:3])
    fitted = fit(template, TALK, short + 2)
    assert fitted.tokens == template.encode([(TALK[:3], ())])[0]
    assert fitted.where == "2 turns at the end"
    fitted = fit(template, TALK, short - 2)
    assert [len(fitted.tokens.input_ids), fitted.where] == [short - 2, "the end of turn 3 and 2 turns at the end"]


def test_left_history_leaves_out_the_oldest_turns_and_keeps_system_and_last_answer(template):
    last = [TALK[0], *TALK[3:]]
    fitted = fit(template, TALK, length(template, last) + 1, "left_history")
    assert fitted.tokens == template.encode([(last, ())])[0]
    assert fitted.where == "turns 2 to 3"
    assert fitted.truncated == length(template, TALK) - length(template, last)
    fitted = fit(template, TALK, length(template, last) - 3, "left_history")
    assert [len(fitted.tokens.input_ids), fitted.where] == [
        length(template, last) - 3,
        "turns 2 to 3 and the end of turn 3",
    ]


def test_drop_and_error_cut_nothing(template):
    dropped = fit(template, TALK, 10, "drop")
    assert isinstance(dropped, RowError)
    assert not isinstance(dropped, TooLong)
    assert str(dropped) == f"{length(template, TALK)} tokens, where cutoff_len is 10"
    assert isinstance(fit(template, TALK, 10, "error"), TooLong)


def test_a_thought_is_cut_where_the_answer_has_no_room(template, tokenizer):
    talk = [user("why"), answer("because", reasoning_content="hmm let me think about it for long")]
    bare = length(template, [user("why"), answer("", reasoning_content="hmm")])
    fitted = fit(template, talk, bare + 2)
    text = tokenizer.decode(fitted.tokens.input_ids)
    assert "</think>" in text
    assert "because" not in text
    assert text.rstrip().endswith("<|im_end|>")


def test_a_tool_call_is_whole_or_not_there(template):
    call = {"type": "function", "function": {"name": "look", "arguments": {"where": "under the bed and behind it"}}}
    talk = [user("?"), answer("", tool_calls=[call])]
    tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    assert str(fit(template, talk, length(template, talk, tools) - 1, tools=tools)).startswith("no room for the first")
    longer = [*talk, {"role": "tool", "content": "there"}, answer("it is there")]
    fitted = fit(template, longer, length(template, talk, tools), tools=tools)
    assert fitted.tokens == template.encode([(talk, tools)])[0]


@pytest.mark.parametrize("policy", ["right", "left_history"])
def test_both_sides_of_a_pair_keep_one_prompt(template, policy):
    prompt, chosen, rejected = TALK[:4], [answer("yes " * 60)], [answer("no " * 30)]
    cutoff = length(template, [*prompt, *rejected]) - (5 if policy == "left_history" else 0)
    kept = prompt if policy == "right" else [prompt[0], prompt[3]]
    fitting = Fitting(template, cutoff_len=cutoff, policy=policy)
    ((a, b),) = fitting.encode_pairs([(prompt, chosen, rejected, ())])
    start = template.encode_prompt(kept)
    assert a.tokens.input_ids[: len(start)] == b.tokens.input_ids[: len(start)] == start
    assert b.tokens == template.encode([([*kept, *rejected], ())])[0]
    assert len(a.tokens.input_ids) == cutoff
    (error,) = Fitting(template, cutoff_len=5, policy=policy).encode_pairs([(prompt, chosen, rejected, ())])
    assert "no room" in str(error)


LONG = "count one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"


def test_a_prompt_that_leaves_no_room_loses_the_end_of_its_longest_text(template, tokenizer):
    talk = [TALK[0], user(LONG), answer("yes")]
    cutoff = length(template, talk) - 10
    fitted = fit(template, talk, cutoff)
    assert fitted.where == "the ends of the prompt's texts" and 0 < cutoff - len(fitted.tokens.input_ids) + 10 <= 12
    text = tokenizer.decode(fitted.tokens.input_ids)
    assert "be brief" in text and "yes" in text and "count one" in text and "fifteen" not in text
    kept = text[text.index("count") :].partition("<|im_end|>")[0]
    assert LONG.startswith(kept)


def test_the_prompt_leaves_a_quarter_of_the_room_to_an_answer_that_needs_it(template):
    talk = [user(LONG), answer(LONG)]
    cutoff = len(template.encode_prompt(talk[:1])) + 8
    fitted = fit(template, talk, cutoff)
    assert len(fitted.tokens.input_ids) == cutoff
    assert cutoff - cutoff // 4 - 6 <= fitted.tokens.weights.index(1) <= cutoff - cutoff // 4
    assert fitted.where == "the ends of the prompt's texts and the end of turn 2"


def test_only_an_answer_that_carries_loss_has_room_made_for_it(template, tokenizer):
    talk = [user("hi"), answer(LONG, weight=0.0), user(LONG), answer("yes", weight=1.0)]
    for keys, messages in ({}, talk), ({"train_on": "last"}, [{**m, "weight": 1.0} for m in talk]):
        fitted = fit(template, messages, length(template, talk) - 20, **keys)
        text = tokenizer.decode(fitted.tokens.input_ids)
        assert fitted.where == "the ends of the prompt's texts"
        assert "yes" in text and text.count("count one") == 2 and "fifteen" not in text


@pytest.mark.parametrize("policy", ["right", "left_history"])
def test_both_sides_of_a_pair_keep_one_shortened_prompt(template, policy):
    prompt, chosen, rejected = [*TALK[:3], user(LONG)], [answer(LONG)], [answer("no")]
    cutoff = len(template.encode_prompt([prompt[0], prompt[3]])) - 4
    ((a, b),) = Fitting(template, cutoff_len=cutoff, policy=policy).encode_pairs([(prompt, chosen, rejected, ())])
    begins = [side.tokens.weights.index(1) for side in (a, b)]
    assert begins[0] == begins[1]
    assert a.tokens.input_ids[: begins[0]] == b.tokens.input_ids[: begins[0]]
    assert len(a.tokens.input_ids) == cutoff and len(b.tokens.input_ids) <= cutoff


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Co"]), min_size=1, max_size=30).filter(str.strip)


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(TEXT, min_size=2, max_size=6),
    cutoff=st.integers(5, 80),
    policy=st.sampled_from(["right", "left_history"]),
)
def test_what_is_left_fits_ends_its_turns_and_balances(template, tokenizer, texts, cutoff, policy):
    talk = [(user if i % 2 == 0 else answer)(text) for i, text in enumerate(texts[: len(texts) // 2 * 2])]
    whole = template.encode([(talk, ())])[0]
    fitted = fit(template, talk, cutoff, policy)
    if isinstance(fitted, RowError):
        assert len(whole.input_ids) > cutoff
        return
    ids = fitted.tokens.input_ids
    assert len(ids) + fitted.truncated == len(whole.input_ids)
    assert len(ids) <= cutoff
    start, end = (tokenizer.convert_tokens_to_ids(t) for t in ("<|im_start|>", "<|im_end|>"))
    assert ids.count(start) == ids.count(end)
    assert ids[-3:].count(end) == 1
    assert (fitted.where != "") == (fitted.truncated > 0)


WIDE = st.text(st.sampled_from("\N{PARTY POPPER}\N{KISS MARK}\u6f22\u5b57\u00e9a "), min_size=1, max_size=20)


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(WIDE.filter(str.strip), min_size=2, max_size=4), fewer=st.integers(1, 60), data=st.data())
def test_no_character_is_cut_in_two(template, tokenizer, texts, fewer, data):
    talk = [(user if i % 2 == 0 else answer)(text) for i, text in enumerate(texts[: len(texts) // 2 * 2])]
    if data.draw(st.booleans()):
        talk[-1]["reasoning_content"] = data.draw(WIDE.filter(str.strip))
    cutoff = length(template, talk) - fewer
    fitted = fit(template, talk, cutoff)
    if isinstance(fitted, RowError):
        return
    assert len(fitted.tokens.input_ids) <= cutoff
    assert "\N{REPLACEMENT CHARACTER}" not in tokenizer.decode(fitted.tokens.input_ids)


def test_an_answer_of_which_no_character_has_room_is_left_out(template):
    talk = [user("a"), answer("b"), user("c"), answer("\N{PARTY POPPER}")]
    first, whole = (template.encode([(talk[:n], ())])[0] for n in (2, 4))
    fitted = fit(template, talk, len(whole.input_ids) - 1)
    assert [fitted.tokens, fitted.where] == [first, "2 turns at the end"]
    assert str(fit(template, talk[2:], length(template, talk[2:]) - 1)).startswith("no room for the first answer")


def test_a_template_that_cannot_decode_cuts_between_any_tokens(template):
    class Mute:
        encode, encode_prompt = template.encode, template.encode_prompt

    talk = [user("a"), answer("\N{PARTY POPPER}" * 9)]
    cutoff = length(template, talk) - 1
    lengths = [len(fit(each, talk, cutoff).tokens.input_ids) for each in (Mute(), template)]
    assert lengths == [cutoff, cutoff - 3]


def test_the_ledger_says_what_was_cut_and_where(tmp_path, tokenizer, template):
    rows = [{"messages": TALK}, {"messages": [*TALK[:2], answer("ok")]}, {"messages": [*TALK[:4], answer("x " * 99)]}]
    (tmp_path / "d.json").write_text(json.dumps(rows))
    keys = {"dataset": str(tmp_path / "d.json"), "output_dir": str(tmp_path / "out")}
    run = make_run(keys, components=["source:local", "format:openai", "dataset:map"])
    cutoff = length(template, TALK) - 1
    run.load_dataset("train", SftEncoder(tokenizer, Fitting(template, cutoff_len=cutoff)))
    (account,) = json.loads((tmp_path / "out" / "ledger.json").read_text())["train"]
    assert [account[key] for key in ("rows", "kept", "dropped", "truncated")] == [3, 3, 0, 2]
    (cut,) = account["cuts"]
    assert [cut["rows"], cut["tokens"]] == [2, account["truncated_tokens"]]
    assert [cut["text"], cut["places"]] == ["the end of turn 5", ["d.json row 1", "d.json row 3"]] or cut["places"]
    with pytest.raises(RunError, match="tokens, where cutoff_len is .*, and truncation is 'error'"):
        run.load_dataset("train", SftEncoder(tokenizer, Fitting(template, cutoff_len=cutoff, policy="error")))
