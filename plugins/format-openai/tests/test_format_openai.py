"""The openai format: messages of the chat API to examples, and what is said of those that are none."""

import json
import pickle

import pytest

from ft_plugin_format_openai import plugin
from ftk.contracts import DatasetSpec, Example
from ftk.problems import RowError
from ftk_sdk.contracts import FormatContract, PluginContract
from ftk_sdk.testing import make_run


def reader(tmp_path, **keys):
    run = make_run({"output_dir": str(tmp_path)}, components=["format:openai"])
    return run.formatter(DatasetSpec(name="d", source="local", location="d.json", formatting="openai", **keys))


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def call(name, **arguments):
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


class TestPlugin(PluginContract):
    plugin = plugin


class TestFormat(FormatContract):
    component = "format:openai"
    read = (({"messages": [user("q"), assistant("a")]}, Example(messages=[user("q"), assistant("a")])),)
    refused = ({"messages": [{"role": "nobody", "content": "q"}]}, {"messages": 3}, {"text": "x"})


def test_messages_pass_with_roles_of_today(tmp_path):
    row = {"messages": [{"role": "developer", "content": "be brief"}, user("hi"), assistant("hello")], "id": 3}
    example = reader(tmp_path)(row)
    assert example.messages == [{"role": "system", "content": "be brief"}, user("hi"), assistant("hello")]
    assert example.columns == {"id": 3}


def test_nothing_is_added_to_a_conversation(tmp_path):
    row = {"messages": [user("hi"), assistant("hello")], "tools": None, "system": None}
    assert reader(tmp_path)(row).messages == row["messages"]


@pytest.mark.parametrize("written", [json.dumps, dict])
def test_arguments_become_objects_whether_text_or_not(tmp_path, written):
    arguments = {"city": "Ulm", "unit": None}
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": written(arguments)}}]
    row = {
        "messages": [
            user("weather?"),
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "c1", "name": "f", "content": "7 C"},
            {"role": "tool", "tool_call_id": "c1", "content": "8 C"},
            assistant("cold"),
        ]
    }
    messages = reader(tmp_path)(row).messages
    assert messages[1] == assistant("", tool_calls=[{"id": "c1", **call("f", **arguments)}])
    assert messages[2] == {"role": "tool", "content": "7 C", "name": "f", "tool_call_id": "c1"}
    assert messages[3]["content"] == "8 C"


def test_text_beside_calls_thoughts_and_weights_are_kept(tmp_path):
    turn = assistant("let me look", reasoning_content="which?", tool_calls=[call("f")], weight=0)
    example = reader(tmp_path)({"messages": [user("q"), turn]})
    assert example.messages[1] == turn | {"weight": 0.0}


def test_calls_of_the_old_kind_are_understood(tmp_path):
    old = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    row = {"messages": [user("q"), old, {"role": "function", "name": "f", "content": "x"}, assistant("done")]}
    messages = reader(tmp_path)(row).messages
    assert messages[1]["tool_calls"] == [call("f")]
    assert messages[2]["role"] == "tool"


def test_text_parts_are_joined_and_media_parts_are_collected(tmp_path):
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert reader(tmp_path)({"messages": [user(parts), assistant("c")]}).messages[0] == user("ab")
    parts.append({"type": "image_url", "image_url": {"url": "cat.png"}})
    example = reader(tmp_path)({"messages": [user(parts), assistant("c")], "audios": ["x.wav"]})
    assert (example.images, example.audios) == (["cat.png"], ["x.wav"])
    assert example.messages[0]["content"] == [*parts[:2], {"type": "image"}]


def test_typed_parts_with_values_are_read(tmp_path):
    answer = [
        {"type": "reasoning", "value": "hm"},
        {"type": "text", "value": "see"},
        {"type": "tool_call", "value": '{"name": "f", "arguments": {"x": 1}}'},
    ]
    row = {"messages": [user([{"type": "text", "value": "q"}]), {"role": "assistant", "content": answer}]}
    assert reader(tmp_path)(row).messages == [
        user("q"),
        assistant("see", reasoning_content="hm", tool_calls=[call("f", x=1)]),
    ]


def test_pairs_are_answers_after_messages_or_whole_conversations(tmp_path):
    read = reader(tmp_path, ranking=True)
    prompt, good, bad = [user("q")], assistant("good"), assistant("bad")
    forms = [
        {"messages": prompt, "chosen": good, "rejected": bad},
        {"messages": prompt, "chosen": [good], "rejected": "bad"},
        {"prompt": prompt, "chosen": [good], "rejected": [bad]},
        {"prompt": "q", "chosen": "good", "rejected": "bad"},
        {"chosen": [*prompt, good], "rejected": [*prompt, bad]},
        {"prompt": "q", "chosen": [*prompt, good], "rejected": [*prompt, bad]},
        {"messages": [*prompt, good], "chosen": [*prompt, good], "rejected": [*prompt, bad]},
    ]
    for row in forms:
        example = read(row)
        assert (example.messages, example.chosen, example.rejected) == (prompt, [good], [bad])


def test_answers_that_begin_with_the_same_call_keep_it(tmp_path):
    read = reader(tmp_path, ranking=True)
    start = [assistant("", tool_calls=[call("f")]), {"role": "tool", "content": "7"}]
    good, bad = [*start, assistant("good")], [*start, assistant("bad")]
    for before in ([], [user("q")]):
        row = {"messages": [user("q")], "chosen": [*before, *good], "rejected": [*before, *bad]}
        example = read(row)
        assert (example.messages, example.chosen, example.rejected) == ([user("q")], good, bad)


def test_media_of_the_prompt_come_before_those_of_answers(tmp_path):
    def picture(name):
        return [{"type": "image", "image": name}]

    row = {"messages": [user(picture("q"))], "chosen": assistant(picture("a")), "rejected": assistant(picture("b"))}
    assert reader(tmp_path, ranking=True)(row).images == ["q", "a", "b"]


def test_equal_answers_are_not_taken_for_the_prompt(tmp_path):
    both = [user("q"), assistant("same")]
    example = reader(tmp_path, ranking=True)({"chosen": both, "rejected": both})
    assert (example.messages, example.chosen) == ([user("q")], [assistant("same")])


def test_verdicts_and_a_prompt_without_an_answer(tmp_path):
    example = reader(tmp_path, columns={"kto_tag": "ok"})({"messages": [user("q"), assistant("a")], "ok": True})
    assert example.desirable is True
    assert reader(tmp_path)({"prompt": [user("q")]}).messages == [user("q")]


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "the conversation is empty"),
        ({"role": "user"}, "column 'messages' is not a list of messages"),
        ("hello", "column 'messages' is not valid JSON: 'hello'"),
        (["hi"], "turn 1 is text, not an object"),
        ([{"content": "x"}], "turn 1: no 'role' (keys there: content)"),
        ([{"role": "narrator", "content": "x"}], "turn 1: unknown role 'narrator'"),
        ([{"role": None, "content": "x"}], "turn 1: unknown role None"),
        ([user("a"), assistant("")], "turn 2: empty answer"),
        ([user("a"), assistant(None)], "turn 2: empty answer"),
        ([user(""), assistant("a")], "turn 1: empty user turn"),
        ([user("a"), user("b")], "turns 1 and 2 are both user turns"),
        ([user({"x": 1}), assistant("a")], "turn 1: content is an object, not text"),
        ([user([{"type": "smell"}]), assistant("a")], "turn 1: unknown part 'smell'"),
        ([user([3]), assistant("a")], "turn 1: unknown part None"),
        ([user([{"type": "text", "text": 5}]), assistant("a")], "turn 1: a text part is a number, not text"),
        ([user("a"), {"role": "tool", "content": "x"}, assistant("b")], "turn 2: a tool's answer without a call"),
        ([user("a"), assistant("", tool_calls=[{"function": {"arguments": "{}"}}])], "turn 2: a tool call has no name"),
        (
            [user("a"), assistant("", tool_calls=[call("f") | {"function": {"name": "f", "arguments": "{x"}}])],
            "turn 2: arg",
        ),
        ([user("a"), assistant("", tool_calls=["f"])], "turn 2: a tool call is text, not an object"),
        ([user("a") | {"tool_calls": [call("f")]}, assistant("b")], "turn 1: a user turn cannot call tools"),
        ([user("a"), assistant("b", weight="much")], "turn 2: weight='much' is not a number"),
    ],
)
def test_a_row_that_cannot_be_used_says_why(tmp_path, messages, message):
    with pytest.raises(RowError) as error:
        reader(tmp_path)({"messages": messages})
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "x"}, "missing column 'chosen' (columns there: text)"),
        ({"chosen": "a", "rejected": "b"}, "no prompt: missing column 'messages'"),
        ({"prompt": "q", "chosen": [], "rejected": "b"}, "empty answer: column 'chosen' is empty"),
        (
            {"prompt": "q", "chosen": user("a"), "rejected": "b"},
            "column 'chosen' begins with a user turn, not with an answer",
        ),
        ({"prompt": "q", "chosen": "a", "rejected": {"role": "x"}}, "column 'rejected': turn 1: unknown role 'x'"),
    ],
)
def test_a_pair_that_cannot_be_used_says_why(tmp_path, row, message):
    with pytest.raises(RowError) as error:
        reader(tmp_path, ranking=True)(row)
    assert message in str(error.value)


def test_the_formatter_can_be_sent_to_another_process(tmp_path):
    read = pickle.loads(pickle.dumps(reader(tmp_path)))
    assert len(read({"messages": [user("q"), assistant("a")]}).messages) == 2


@pytest.mark.parametrize("prompt", ["[INST] hi", [user("[INST] hi")], json.dumps([user("[INST] hi")])])
@pytest.mark.parametrize("completion", ["ho", assistant("ho"), [assistant("ho")]])
def test_a_prompt_and_its_completion_are_texts_or_messages(tmp_path, prompt, completion):
    example = reader(tmp_path)({"prompt": prompt, "completion": completion, "id": 1})
    assert list(example.messages) == [user("[INST] hi"), assistant("ho")]
    assert example.columns == {"id": 1}
    with pytest.raises(RowError, match="empty answer: column 'completion' is empty"):
        reader(tmp_path)({"prompt": prompt, "completion": ""})
