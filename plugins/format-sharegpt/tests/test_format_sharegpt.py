"""The sharegpt format: conversations to examples, and what is said of those that are none."""

import json
import pickle

import pytest

from ft_plugin_format_sharegpt import plugin
from ftk.contracts import DatasetSpec, Example
from ftk.problems import RowError, RunError
from ftk_sdk.contracts import FormatContract, PluginContract
from ftk_sdk.testing import make_run

API_TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}


def reader(tmp_path, **keys):
    run = make_run({"output_dir": str(tmp_path)}, components=["format:sharegpt"])
    return run.formatter(DatasetSpec(name="d", source="local", location="d.json", formatting="sharegpt", **keys))


def turns(*pairs):
    return {"conversations": [{"from": role, "value": value} for role, value in pairs]}


def call(name, **arguments):
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


class TestPlugin(PluginContract):
    plugin = plugin


class TestFormat(FormatContract):
    component = "format:sharegpt"
    read = (
        (
            {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "id": 1},
            Example(
                messages=[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], columns={"id": 1}
            ),
        ),
    )
    refused = ({"conversations": [{"from": "nobody", "value": "q"}]}, {"messages": []})


def test_turns_become_messages_and_a_system_turn_wins_over_the_column(tmp_path):
    row = turns(("system", "be brief"), ("human", "hi"), ("gpt", "hello")) | {"system": "other", "id": 1}
    example = reader(tmp_path)(row)
    assert example.messages == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
    ]
    assert example.columns == {"id": 1}
    example = reader(tmp_path)(turns(("system", ""), ("human", "hi"), ("gpt", "hello")) | {"system": "column"})
    assert example.messages[0] == {"role": "system", "content": "column"}


@pytest.mark.parametrize("tags", [API_TAGS, {}])
def test_role_and_content_are_understood_with_tags_and_without(tmp_path, tags):
    row = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}
    example = reader(tmp_path, columns={"messages": "messages"}, tags=tags)(row)
    assert [m["role"] for m in example.messages] == ["user", "assistant"]


def test_tool_calls_keep_their_arguments_exactly(tmp_path):
    arguments = {"z": 1, "a": {"deep": [None, "x"]}, "none": None}
    row = turns(
        ("human", "find"),
        ("function_call", json.dumps({"name": "f", "arguments": arguments})),
        ("observation", '{"found": 1}'),
        ("gpt", "done"),
    )
    row["tools"] = json.dumps([{"name": "f", "parameters": {"type": "object"}}])
    example = reader(tmp_path)(row)
    assert example.messages[1] == {"role": "assistant", "content": "", "tool_calls": [call("f", **arguments)]}
    assert list(example.messages[1]["tool_calls"][0]["function"]["arguments"]) == ["z", "a", "none"]
    assert example.messages[2] == {"role": "tool", "content": '{"found": 1}'}
    assert example.tools == [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


def test_several_calls_arguments_as_text_and_objects_in_place_of_text(tmp_path):
    calls = [{"name": "f", "arguments": '{"x": 1}'}, {"name": "g"}]
    row = turns(("human", "q"), ("function_call", calls), ("observation", {"a": 1}), ("observation", "b"), ("gpt", "z"))
    example = reader(tmp_path)(row)
    assert example.messages[1]["tool_calls"] == [call("f", x=1), call("g")]
    assert [m["content"] for m in example.messages[2:4]] == ['{"a": 1}', "b"]


def test_text_and_a_call_after_it_are_one_answer(tmp_path):
    row = turns(
        ("human", "q"),
        ("gpt", "let me look"),
        ("function_call", '<think>which?</think>\n{"name": "f", "arguments": {}}'),
        ("function_call", '{"name": "g", "arguments": {}}'),
        ("observation", "x"),
        ("gpt", "done"),
    )
    answer = reader(tmp_path)(row).messages[1]
    assert answer == {
        "role": "assistant",
        "content": "let me look",
        "tool_calls": [call("f"), call("g")],
        "reasoning_content": "which?",
    }


@pytest.mark.parametrize("form", [dict, list, str])
def test_pairs_may_be_turns_lists_of_turns_or_texts(tmp_path, form):
    answers = {name: {"from": "gpt", "value": name} for name in ("chosen", "rejected")}
    if form is not dict:
        answers = {name: [turn] if form is list else turn["value"] for name, turn in answers.items()}
    example = reader(tmp_path, ranking=True)(turns(("human", "q")) | answers)
    assert example.messages == [{"role": "user", "content": "q"}]
    assert example.chosen == [{"role": "assistant", "content": "chosen"}]
    assert example.rejected == [{"role": "assistant", "content": "rejected"}]


def test_verdicts(tmp_path):
    example = reader(tmp_path, columns={"kto_tag": "label"})(turns(("human", "q"), ("gpt", "a")) | {"label": False})
    assert example.desirable is False


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": []}, "missing column 'conversations' (columns there: messages)"),
        ({"conversations": []}, "the conversation is empty"),
        ({"conversations": None}, "the conversation is empty"),
        ({"conversations": {"from": "human"}}, "the conversation is not a list of turns"),
        ({"conversations": "[{"}, "column 'conversations' is not valid JSON: '[{'"),
        ({"conversations": ["hi"]}, "turn 1: not an object"),
        ({"conversations": [{"value": "hi"}]}, "turn 1: no 'from' (keys there: value)"),
        (turns(("narrator", "x")), "turn 1: unknown role 'narrator' (known: user, assistant,"),
        (turns(("human", "a"), ("gpt", "")), "turn 2: empty answer"),
        (turns(("human", ""), ("gpt", "b")), "turn 1: empty user turn"),
        (turns(("human", "a"), ("gpt", None)), "turn 2: empty answer"),
        (turns(("human", "a"), ("gpt", 3)), "turn 2: 'value' is a number, not text"),
        (turns(("human", "a"), ("gpt", "b"), ("human", "c"), ("human", "d")), "turns 3 and 4 are both user turns"),
        (turns(("human", "a"), ("gpt", "b"), ("gpt", "c")), "turns 2 and 3 are both assistant turns"),
        (turns(("human", "a"), ("observation", "b"), ("gpt", "c")), "turn 2: a tool's answer without a call before it"),
        (turns(("human", "a"), ("function_call", "f(x)")), "turn 2: the tool call is not valid JSON: 'f(x)'"),
        (turns(("human", "a"), ("function_call", '{"arguments": {}}')), "turn 2: a tool call has no name"),
        (
            turns(("human", "a"), ("function_call", '{"name": "f", "arguments": [1]}')),
            "turn 2: arguments of 'f' are a list, not an object",
        ),
        (turns(("human", "a"), ("function_call", "[]")), "turn 2: no tool call in it"),
        (turns(("system", "only")), "the conversation is empty"),
    ],
)
def test_a_row_that_cannot_be_used_says_why(tmp_path, row, message):
    with pytest.raises(RowError) as error:
        reader(tmp_path)(row)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (turns(("human", "q")) | {"chosen": "a"}, "missing column 'rejected'"),
        (turns(("human", "q")) | {"chosen": "a", "rejected": ""}, "empty answer: column 'rejected' is empty"),
        (
            turns(("human", "q")) | {"chosen": {"from": "human", "value": "x"}, "rejected": "b"},
            "begins with a user turn",
        ),
        (turns(("human", "q"), ("gpt", "a")) | {"chosen": "a", "rejected": "b"}, "ends with an answer"),
    ],
)
def test_a_pair_that_cannot_be_used_says_why(tmp_path, row, message):
    with pytest.raises(RowError) as error:
        reader(tmp_path, ranking=True)(row)
    assert message in str(error.value)


def test_tags_without_a_meaning_are_errors(tmp_path):
    with pytest.raises(RunError, match="tags: unknown role 'role'"):
        reader(tmp_path, tags={"role": "from"})
    with pytest.raises(RunError, match="tags: 'role_tag' has no name"):
        reader(tmp_path, tags={"content_tag": "from"})


def test_the_formatter_can_be_sent_to_another_process(tmp_path):
    read = pickle.loads(pickle.dumps(reader(tmp_path)))
    assert len(read(turns(("human", "q"), ("gpt", "a"))).messages) == 2
