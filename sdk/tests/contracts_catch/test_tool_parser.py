"""The contract of tool parsers passes a good one, and each of its assertions catches a broken one."""

import json

import pytest

from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.pack import Facts
from ftk.contracts import AnswerReader, Delta, ParsedAnswer, ToolCall, ToolParser
from ftk.markers import hookimpl
from ftk_sdk.contracts import ToolParserContract
from ftk_sdk.fakes import installed_with, plugin

JINJA = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}"
    "{% for c in m.tool_calls %}CALL {{ {'name': c.function.name, 'arguments': c.function.arguments} | tojson }}"
    "{% endfor %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}{# tools #}"
)


class Lines:
    """The template that writes what the parser reads."""

    @hookimpl
    def ftk_load_template(self, run, tokenizer):
        return ChatTemplate(Facts(name="lines", chat_template=JINJA, stop=("<|end|>",)), tokenizer)


class Reader(AnswerReader):
    """An answer is text, or ``CALL`` and JSON. What it is is known at its end."""

    def __init__(self):
        self.text = ""

    def feed(self, piece):
        self.text += piece
        return []

    def close(self):
        mark, _, written = self.text.partition(" ")
        if mark != "CALL":
            return [Delta(content=self.text)]
        try:
            return [Delta(call=ToolCall(**json.loads(written)))]
        except (ValueError, TypeError):
            return [Delta(problem="it is not JSON"), Delta(content=self.text)]


class Good(ToolParser):
    reader = Reader

    @hookimpl
    def ftk_tool_parser(self, run, template):
        return self

    def stream(self, *, tools=(), prompt=""):
        return self.reader()


class LinesContract(ToolParserContract):
    template = "template:lines"
    examples = (
        ('CALL {"name": "f", "arguments": {"a": 1}}', ParsedAnswer(tool_calls=(ToolCall("f", {"a": 1}),))),
        ("CALL it", ParsedAnswer("CALL it", problems=("it is not JSON",))),
    )


def parser(**members):
    """A parser with the members of its reader changed."""
    return type("Broken", (Good,), {"reader": type("BrokenReader", (Reader,), members)})


class TestAGoodParser(LinesContract):
    component = "tool-parser:lines"
    plugins = installed_with(plugin(offers={"tool-parser:lines": Good, "template:lines": Lines}))


class TestAGoodParserWithoutATemplate(TestAGoodParser):
    template = "template:auto"


def shouts(reader):
    return [Delta(content=d.content.upper(), call=d.call, problem=d.problem) for d in Reader.close(reader)]


def raises(reader):
    return (
        [Delta(call=ToolCall(**json.loads(reader.text[5:])))]
        if reader.text.startswith("CALL {")
        else [Delta(reader.text)]
    )


def guesses(reader):
    return Reader.close(reader) if "1" in reader.text or "{" not in reader.text else [Delta(call=ToolCall("f", {}))]


def every_piece(reader, piece):
    reader.text += piece
    return [Delta(content=piece)] if piece == "CALL" else []


def to_text(reader):
    made = Reader.close(reader)
    call = made[0].call
    return (
        [Delta(call=ToolCall(call.name, {k: str(v) if k == "days" else v for k, v in call.arguments.items()}))]
        if call
        else made
    )


class Shared(Good):
    def __init__(self):
        self.only = Reader()

    def stream(self, *, tools=(), prompt=""):
        return self.only

    def parse(self, text, *, tools=(), prompt=""):
        self.only = Reader()
        return super().parse(text)


BROKEN = [
    ("test_answers_say_what_they_should", parser(close=shouts), "'CALL IT'"),
    ("test_an_answer_says_the_same_wherever_it_is_cut", parser(feed=every_piece), "cut into 'CALL' and"),
    ("test_text_without_calls_is_text", parser(close=shouts), "'GOOD DAY.'"),
    (
        "test_an_answer_that_breaks_off_raises_nothing_and_calls_nothing_else",
        parser(close=raises),
        "raised JSONDecodeError",
    ),
    (
        "test_an_answer_that_breaks_off_raises_nothing_and_calls_nothing_else",
        parser(close=guesses),
        "was read as the calls",
    ),
    ("test_readers_have_nothing_in_common", Shared, "while another answer was read"),
    ("test_what_the_template_writes_is_read_back", parser(close=to_text), "'days': '2'"),
]


@pytest.mark.parametrize(("method", "broken", "message"), BROKEN)
def test_a_broken_parser_is_caught(caught, method, broken, message):
    class Contract(LinesContract):
        component = "tool-parser:broken"
        plugins = installed_with(plugin(offers={"tool-parser:broken": broken, "template:lines": Lines}))

    assert message in caught(Contract, method)


def test_a_contract_without_calls_proves_nothing(caught):
    class Contract(TestAGoodParser):
        examples = (("Hello", ParsedAnswer("Hello")),)

    assert "give at least one example with a call" in caught(Contract, "test_answers_say_what_they_should")
