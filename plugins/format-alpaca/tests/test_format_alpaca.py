"""The alpaca format: rows to examples, and what is said of rows that are none."""

import pickle

import pytest

from ft_plugin_format_alpaca import plugin
from ftk.contracts import DatasetSpec, Example
from ftk.problems import RowError, RunError
from ftk_sdk.contracts import FormatContract, PluginContract
from ftk_sdk.testing import make_run


def reader(tmp_path, **keys):
    run = make_run({"output_dir": str(tmp_path)}, components=["format:alpaca"])
    return run.formatter(DatasetSpec(name="d", source="local", location="d.json", formatting="alpaca", **keys))


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


class TestPlugin(PluginContract):
    plugin = plugin


class TestFormat(FormatContract):
    component = "format:alpaca"
    read = (({"instruction": "a", "input": "b", "output": "c"}, Example(messages=[user("a\nb"), assistant("c")])),)
    refused = ({"instruction": "a", "output": 1}, {"output": "b"})


def test_instruction_and_input_are_joined_by_one_line_break(tmp_path):
    read = reader(tmp_path)
    assert read({"instruction": "add", "input": "1 2", "output": "3"}).messages == [user("add\n1 2"), assistant("3")]
    assert read({"instruction": "hi", "input": "", "output": "hello"}).messages == [user("hi"), assistant("hello")]
    assert read({"instruction": "hi", "input": None, "output": "hello"}).messages == [user("hi"), assistant("hello")]
    assert read({"instruction": "", "input": "hi", "output": "hello"}).messages == [user("hi"), assistant("hello")]


def test_history_and_system_come_first_and_other_columns_are_kept(tmp_path):
    row = {"instruction": "c", "output": "d", "history": [["a", "b"]], "system": "be brief", "id": 7}
    example = reader(tmp_path)(row)
    assert example.messages == [
        {"role": "system", "content": "be brief"},
        user("a"),
        assistant("b"),
        user("c"),
        assistant("d"),
    ]
    assert example.columns == {"id": 7}
    assert reader(tmp_path)(row | {"history": '[["a", "b"]]'}).messages == example.messages


def test_columns_that_are_not_named_keep_their_defaults(tmp_path):
    read = reader(tmp_path, columns={"system": "persona"})
    example = read({"instruction": "a", "input": "b", "output": "c", "persona": "p"})
    assert example.messages == [{"role": "system", "content": "p"}, user("a\nb"), assistant("c")]


def test_a_default_column_that_has_another_role_is_not_used_twice(tmp_path):
    read = reader(tmp_path, columns={"prompt": "input", "response": "target"})
    assert read({"input": "q", "target": "a"}).messages == [user("q"), assistant("a")]


def test_an_empty_name_switches_a_role_off(tmp_path):
    read = reader(tmp_path, columns={"query": ""})
    example = read({"instruction": "a", "input": "b", "output": "c"})
    assert example.messages == [user("a"), assistant("c")]
    assert example.columns == {"input": "b"}


def test_data_without_a_column_of_answers_is_raw_text(tmp_path):
    example = reader(tmp_path, columns={"prompt": "text"})({"text": "once upon a time", "url": "u"})
    assert (example.text, example.messages, example.columns) == ("once upon a time", (), {"url": "u"})


def test_a_prompt_without_an_answer_is_raw_text_and_a_conversation(tmp_path):
    row = {"instruction": "c", "input": "d", "system": "be brief", "history": [["a", "b"]], "tools": [{"name": "f"}]}
    example = reader(tmp_path)(row)
    assert example.text == "c\nd"
    system = {"role": "system", "content": "be brief"}
    assert example.messages == [system, user("a"), assistant("b"), user("c\nd")]
    assert example.tools == [{"type": "function", "function": {"name": "f"}}]
    bare = reader(tmp_path, columns={"prompt": "question"})({"question": "why", "id": 7})
    assert (bare.text, bare.messages, bare.columns) == ("why", [user("why")], {"id": 7})


def test_what_stands_beside_raw_text_is_no_part_of_a_conversation(tmp_path):
    read = reader(tmp_path, columns={"prompt": "text"})
    assert read({"text": "once", "history": "written in 1812", "system": 7}) == Example(text="once")


def test_pairs_and_verdicts(tmp_path):
    pair = reader(tmp_path, ranking=True)({"instruction": "q", "chosen": "good", "rejected": "bad"})
    assert (pair.messages, pair.chosen, pair.rejected) == ([user("q")], [assistant("good")], [assistant("bad")])
    read = reader(tmp_path, columns={"kto_tag": "label"})
    for written, meant in [(True, True), ("false", False), (1, True), (None, None)]:
        assert read({"instruction": "q", "output": "a", "label": written}).desirable is meant


def test_tools_and_media_are_taken_over(tmp_path):
    row = {"instruction": "q", "output": "a", "tools": '[{"name": "f"}]', "images": "cat.png"}
    example = reader(tmp_path)(row)
    assert example.tools == [{"type": "function", "function": {"name": "f"}}]
    assert example.images == ["cat.png"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"input": "b", "output": "c"}, "missing column 'instruction' (columns there: input, output)"),
        ({"instruction": "a", "output": ""}, "empty answer: column 'output' is empty"),
        ({"instruction": "a", "output": None}, "empty answer: column 'output' is empty"),
        ({"instruction": "", "input": None, "output": "c"}, "empty prompt: column 'instruction' is empty"),
        ({"instruction": "a", "output": 42}, "column 'output' is a number, not text"),
        ({"instruction": ["a"], "output": "b"}, "column 'instruction' is a list, not text"),
        ({"instruction": "a", "output": "b", "history": [["q"]]}, "column 'history': entry 1 is not a pair"),
        ({"instruction": "a", "output": "b", "history": [["q", 1]]}, "column 'history': entry 1 is a number, not text"),
        ({"instruction": "a", "output": "b", "history": [["q", ""]]}, "column 'history': entry 1: empty answer"),
        ({"instruction": "a", "history": [["q", "b"], [None, "b"]]}, "column 'history': entry 2: empty question"),
        ({"instruction": "a", "output": "b", "history": "[["}, "column 'history' is not valid JSON: '[['"),
        ({"instruction": "a", "output": "b", "tools": "{no"}, "column 'tools' is not valid JSON: '{no'"),
        ({"instruction": "a", "output": "b", "tools": [{"x": 1}]}, "column 'tools': a tool has no name"),
        (
            {"instruction": "a", "output": "b", "kto_tag": "maybe"},
            "column 'kto_tag' is 'maybe', neither true nor false",
        ),
    ],
)
def test_a_row_that_cannot_be_used_says_why(tmp_path, row, message):
    with pytest.raises(RowError) as error:
        reader(tmp_path)(row)
    assert message in str(error.value)


def test_a_pair_without_one_of_its_answers_says_which(tmp_path):
    with pytest.raises(RowError, match="missing column 'rejected'"):
        reader(tmp_path, ranking=True)({"instruction": "q", "chosen": "good"})


def test_a_role_that_the_format_does_not_have_is_an_error(tmp_path):
    with pytest.raises(RunError, match=r"dataset 'd': columns: unknown role 'promt'"):
        reader(tmp_path, columns={"promt": "q"})


def test_the_formatter_can_be_sent_to_another_process(tmp_path):
    read = pickle.loads(pickle.dumps(reader(tmp_path)))
    assert read({"instruction": "a", "output": "b"}).messages == [user("a"), assistant("b")]


def test_a_pair_may_be_a_list_the_better_answer_first(tmp_path):
    read = reader(tmp_path, ranking=True)
    example = read({"instruction": "q", "output": ["good", "bad"]})
    assert [example.chosen[0]["content"], example.rejected[0]["content"]] == ["good", "bad"]
    with pytest.raises(RowError, match="column 'output': 3 ranked answers, where a pair has two"):
        read({"instruction": "q", "output": ["a", "b", "c"]})
    with pytest.raises(RowError, match="empty answer: column 'output' is empty"):
        read({"instruction": "q", "output": ["a", ""]})
