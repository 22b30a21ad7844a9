"""What holds for every tool parser."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import pytest

from ftk.contracts import Message, ParsedAnswer, Template, ToolParser
from ftk.problems import RowError

from ..testing import make_run
from ..tiny import tiny_tokenizer
from .subject import Subject

PLAIN = ("Good day.", "Two\nlines, and a third:\n\n- [x] {y} <z>", '{"an": "object"}', "")
TOOLS: tuple[dict[str, Any], ...] = (
    {
        "type": "function",
        "function": {
            "name": "get-weather",
            "description": "Tells the weather",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Where"},
                    "code": {"type": "string", "description": "As text"},
                    "days": {"type": "integer", "description": "How many"},
                    "at": {"type": "object", "description": "When"},
                },
                "required": [],
            },
        },
    },
)
CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("get-weather", {"city": "Oslo", "code": "007", "days": 2, "at": {"hours": [6, 18], "sharp": True}}),
    ("get-weather", {"city": "l'\u00ce\"le\\\nd'Yeu: {a}, [b]"}),
    ("get-weather", {}),
)
"""Calls with what formats trip over: a dash, quotes, line breaks, numbers as text, nested values, no arguments."""


class ToolParserContract(Subject):
    """Set ``component`` and ``examples``, and ``template`` where there is one that writes what it reads."""

    examples: ClassVar[Sequence[tuple[str, ParsedAnswer]]]
    """Answers as a model writes them, each with what it says."""
    tools: ClassVar[Sequence[Mapping[str, Any]]] = ()
    """Schemas of the tools in ``examples``."""
    template: ClassVar[str] = "template:auto"
    """Id of a template whose calls it reads; ``auto`` has none."""

    def bound(self) -> tuple[ToolParser, Template]:
        held = [self.component, self.template, *self.beside]
        run = make_run(self.keys, components=held, action="chat", plugins=self.plugins)
        template = run.load_template(tiny_tokenizer())
        parser = run.tool_parser(template)
        assert parser is not None, f"{self.component} provides no parser"
        return parser, template

    def parser(self) -> ToolParser:
        return self.bound()[0]

    def read(self, parser: ToolParser, pieces: Iterable[str]) -> ParsedAnswer:
        reader = parser.stream(tools=self.tools)
        return ParsedAnswer.of([*(delta for piece in pieces for delta in reader.feed(piece)), *reader.close()])

    def test_answers_say_what_they_should(self):
        assert any(wanted.tool_calls for _, wanted in self.examples), "give at least one example with a call"
        parser = self.parser()
        for text, wanted in self.examples:
            made = parser.parse(text, tools=self.tools)
            assert made == wanted, f"{text!r} was read as\n{made!r}, not\n{wanted!r}"

    def test_an_answer_says_the_same_wherever_it_is_cut(self):
        parser = self.parser()
        for text, wanted in self.examples:
            made = self.read(parser, text)
            assert made == wanted, f"{text!r} in single characters was read as\n{made!r}"
            for cut in range(1, len(text)):
                made = self.read(parser, (text[:cut], text[cut:]))
                assert made == wanted, f"cut into {text[:cut]!r} and {text[cut:]!r} it was read as\n{made!r}"

    def test_text_without_calls_is_text(self):
        parser = self.parser()
        for text in PLAIN:
            made = parser.parse(text, tools=TOOLS)
            assert made == ParsedAnswer(content=text), f"{text!r} was read as {made!r}"

    def test_an_answer_that_breaks_off_raises_nothing_and_calls_nothing_else(self):
        parser = self.parser()
        for text, wanted in self.examples:
            for cut in range(len(text)):
                try:
                    made = parser.parse(text[:cut], tools=self.tools)
                except Exception as e:
                    pytest.fail(f"{text[:cut]!r} raised {type(e).__name__}: {e}; what is no call is text")
                whole = wanted.tool_calls[: len(made.tool_calls)]
                assert made.tool_calls == whole, f"{text[:cut]!r} was read as the calls {made.tool_calls!r}"

    def test_readers_have_nothing_in_common(self):
        parser = self.parser()
        text, wanted = self.examples[0]
        first, second = parser.stream(tools=self.tools), parser.stream(tools=self.tools)
        deltas = [delta for piece in text for delta in (first.feed(piece), second.feed(piece))[0]]
        made = ParsedAnswer.of([*deltas, *first.close()])
        assert made == wanted, f"while another answer was read, {text!r} was read as {made!r}"

    def test_what_the_template_writes_is_read_back(self):
        if self.template == "template:auto":
            pytest.skip("set template to the id of one that writes these calls")
        parser, template = self.bound()
        for name, arguments in CALLS:
            prompt, answer = written(template, name, arguments)
            made = parser.parse(answer, tools=TOOLS, prompt=prompt)
            calls = [(call.name, dict(call.arguments)) for call in made.tool_calls]
            assert calls == [(name, arguments)], f"{answer!r} was read as\n{made!r}"


def written(template: Template, name: str, arguments: Mapping[str, Any]) -> tuple[str, str]:
    """The prompt for an answer that makes the call, and the answer without what ends it."""
    call = {"id": "call00001", "type": "function", "function": {"name": name, "arguments": dict(arguments)}}
    question = Message(role="user", content="Go on.")
    try:
        prompt = template.render([question], tools=TOOLS, generation_prompt=True)
        whole = template.render([question, Message(role="assistant", content="", tool_calls=[call])], tools=TOOLS)
    except RowError as e:
        pytest.fail(f"template {template.name!r} writes no calls: {e}")
    answer = whole.removeprefix(prompt).rstrip()
    for stop in template.stop:
        answer = answer.removesuffix(stop)
    return prompt, answer
