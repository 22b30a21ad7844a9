"""Answers as they come, with what they say told apart where the conversation has tools."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftk.contracts import AnswerReader, Delta, Engine, Message, ParsedAnswer, Template, ToolCall, ToolParser
from ftk.problems import ConfigError, RowError, RunError
from ftk.run import Run


class Talk:
    """An engine, and for conversations with tools the template and the parser of its answers."""

    def __init__(
        self,
        engine: Engine,
        tools: Sequence[Mapping[str, Any]] = (),
        template: Template | None = None,
        parser: ToolParser | None = None,
    ) -> None:
        self.engine, self.tools, self.template, self.parser = engine, tools, template, parser
        self._calls = 0

    def answer(self, messages: Sequence[Message]) -> Generator[Delta, None, None]:
        """What the next answer says, piece by piece. Leaving the iterator ends the computation."""
        if self.parser is None or self.template is None:
            pieces, reader = self.engine.stream(messages), None
        else:
            try:
                prompt = self.template.render(messages, tools=self.tools, generation_prompt=True)
            except RowError as e:
                raise RunError(f"the template cannot take this conversation: {e}") from e
            reader = self.parser.stream(tools=self.tools, prompt=prompt)
            # Calls and thoughts stand between control tokens.
            pieces = self.engine.stream(messages, tools=self.tools, skip_special_tokens=False)
        try:
            yield from _read(pieces, reader)
        finally:
            if isinstance(pieces, Generator):
                pieces.close()  # an engine stops computing what nobody reads

    def turn(self, answer: ParsedAnswer) -> Message:
        """The answer as a message. Its calls have ids, which results refer to and some templates need."""
        message = answer.as_message()
        for call in message.get("tool_calls", ()):
            self._calls += 1
            call.setdefault("id", f"call{self._calls:05}")
        return message


def _read(pieces: Iterator[str], reader: AnswerReader | None) -> Iterator[Delta]:
    for piece in pieces:
        yield from reader.feed(piece) if reader else [Delta(content=piece)]
    yield from reader.close() if reader else []


def open_talk(run: Run, tools: Path | None) -> Talk:
    """Raises ConfigError for a file without tools, and RunError where calls cannot be read."""
    if tools is None:
        return Talk(run.engine())
    schemas = read_tools(tools)
    if not run.plan.of_kind("tool-parser"):
        raise RunError("nothing is installed that reads tool calls", "pip install ft-plugin-tool-parsers")
    template = run.load_template(run.load_tokenizer())
    parser = run.tool_parser(template)
    if parser is None:
        raise RunError(f"template {template.name!r} writes no tool calls", "choose another template, or no --tools")
    return Talk(run.engine(), schemas, template, parser)


def read_tools(path: Path) -> list[dict[str, Any]]:
    """The schemas in a JSON file: a list of them, or an object with such a list as ``tools``."""
    try:
        made = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise ConfigError.single(f"{path}: {e}", "give a JSON file with a list of function schemas") from None
    made = made.get("tools") if isinstance(made, dict) else made
    listed = made if isinstance(made, list) else []
    functions = [tool.get("function", tool) if isinstance(tool, dict) else {} for tool in listed]
    if not functions or not all(isinstance(f, dict) and isinstance(f.get("name"), str) for f in functions):
        hint = 'write [{"type": "function", "function": {"name": ..., "parameters": {...}}}]'
        raise ConfigError.single(f"{path} is not a list of function schemas", hint)
    return [{"type": "function", "function": function} for function in functions]


def shown(call: ToolCall) -> str:
    """A call as one line."""
    line = f"{call.name} {json.dumps(dict(call.arguments), ensure_ascii=False)}"
    return line.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be printed
