"""Conversations with tools: an engine that says what the test wants, everything else as it is."""

import io
import json

import pytest

from ft_plugin_generate.command import converse, say, turn
from ft_plugin_generate.talk import Talk, read_tools, shown
from ftk.contracts import AnswerReader, Delta, Engine, ToolCall, ToolParser
from ftk.problems import ConfigError, RowError, RunError

TOOL = {"type": "function", "function": {"name": "clock", "parameters": {}}}
QUESTION = [{"role": "user", "content": "What time is it?"}]


class Saying(Engine):
    """Answers with one list of pieces after the other, and remembers what it was asked."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def stream(self, messages, *, tools=(), **generation):
        self.asked.append((list(messages), list(tools), generation))
        yield from self.answers.pop(0)


class Lines(ToolParser):
    """Calls are pieces in capital letters, thoughts in round brackets, and problems in square ones."""

    def stream(self, *, tools=(), prompt=""):
        assert prompt == "the prompt" and tools == [TOOL]
        return LineReader()


class LineReader(AnswerReader):
    def feed(self, piece):
        if piece.isupper():
            return [Delta(call=ToolCall(piece.lower(), {"zone": "CET"}))]
        kind = {"(": "reasoning", "[": "problem"}.get(piece[0], "content")
        return [Delta(**{kind: piece})]

    def close(self):
        return []


class Prompt:
    """The part of a template that is asked for."""

    name = "prompt"

    def render(self, messages, *, tools=(), generation_prompt=False):
        if len(messages) > 9:
            raise RowError("it is too long")
        return "the prompt"


def talk(*answers):
    return Talk(Saying(*answers), [TOOL], Prompt(), Lines())


def test_without_tools_pieces_are_the_answer_as_they_are():
    engine = Saying(["Hel", "LO", " (you)"])
    assert list(Talk(engine).answer(QUESTION)) == [Delta("Hel"), Delta("LO"), Delta(" (you)")]
    assert engine.asked == [(QUESTION, [], {})]


def test_with_tools_the_engine_is_given_them_and_keeps_the_control_tokens():
    made = talk(["One moment. ", "CLOCK"])
    assert list(made.answer(QUESTION)) == [Delta("One moment. "), Delta(call=ToolCall("clock", {"zone": "CET"}))]
    assert made.engine.asked == [(QUESTION, [TOOL], {"skip_special_tokens": False})]


def test_calls_are_lines_and_thoughts_are_no_output(capsys):
    say(talk(["(Hm.)", "I look.", "CLOCK", "CLOCK"]), QUESTION, [])
    printed = capsys.readouterr()
    assert printed.out == 'I look.\ncalls clock {"zone": "CET"}\ncalls clock {"zone": "CET"}\n'
    assert printed.err == "(Hm.)"
    say(talk(["CLOCK", "[odd]"]), QUESTION, [])
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ('calls clock {"zone": "CET"}\n', "warning: [odd]\n")


def test_results_are_the_next_lines_and_the_answer_goes_on(monkeypatch, capsys):
    made = talk(["CLOCK", "CLOCK"], ["It is noon."], ["You are welcome."])
    monkeypatch.setattr("sys.stdin", io.StringIO("What time is it?\nnoon\n12:00\nthanks\n"))
    converse(made, [])
    assert capsys.readouterr().out.splitlines()[2:] == ["It is noon.", "You are welcome."]
    messages = made.engine.asked[-1][0]
    assert [m["role"] for m in messages] == ["user", "assistant", "tool", "tool", "assistant", "user"]
    ids = [call["id"] for call in messages[1]["tool_calls"]]
    assert ids == [m["tool_call_id"] for m in messages[2:4]] == ["call00001", "call00002"]
    assert [m["content"] for m in messages[2:4]] == ["noon", "12:00"]


def test_a_conversation_ends_where_the_input_does(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("What time is it?\n"))
    converse(talk(["CLOCK"]), [])
    assert capsys.readouterr().out == 'calls clock {"zone": "CET"}\n'


def test_a_conversation_that_the_template_cannot_take_is_an_error(capsys):
    with pytest.raises(RunError, match="too long"):
        list(talk([]).answer(QUESTION * 10))
    assert turn(talk([]), QUESTION * 10) == QUESTION * 9
    assert "too long" in capsys.readouterr().err


def test_tools_are_a_list_of_schemas_in_any_of_the_usual_forms(tmp_path):
    path = tmp_path / "tools.json"
    for form in ([TOOL], [TOOL["function"]], {"tools": [TOOL]}):
        path.write_text(json.dumps(form))
        assert read_tools(path) == [TOOL]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", "[7]", '[{"name": 7}]', '{"tools": {}}', '[{"type": "function"}]']
)
def test_a_file_without_tools_is_refused_with_its_name(tmp_path, text):
    path = tmp_path / "tools.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"tools\.json"):
        read_tools(path)
    with pytest.raises(ConfigError, match=r"none\.json"):
        read_tools(tmp_path / "none.json")


def test_a_call_is_one_line_that_any_terminal_takes():
    assert shown(ToolCall("f", {"a": "x\ny", "b": "\u00e9\ud800"})) == 'f {"a": "x\\ny", "b": "\u00e9?"}'
