"""Conversations that tell templates apart. A text occurs once in each, so that masks can be checked by searching."""

from __future__ import annotations

from typing import Any

Conversation = tuple[list[dict[str, Any]], list[dict[str, Any]]]
"""Messages and tools."""


def _system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _answer(text: str, *calls: dict[str, Any], thought: str | None = None) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = list(calls)
    if thought is not None:
        message["reasoning_content"] = thought
    return message


def _call(name: str, identifier: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "function", "id": identifier, "function": {"name": name, "arguments": arguments}}


def _result(text: str, identifier: str) -> dict[str, Any]:
    return {"role": "tool", "content": text, "tool_call_id": identifier}


def _tool(name: str, description: str, **parameters: str) -> dict[str, Any]:
    properties = {key: {"type": kind} for key, kind in parameters.items()}
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


WEATHER = _tool("get-weather", 'Tells the "weather" of a city', city="string", days="integer")
CLOCK = _tool("clock.now", "Tells the time")
ASK = _call("get-weather", "call00001", city="Oslo", days=2)

BATTERY: dict[str, Conversation] = {
    "one turn": ([_user("Hello there."), _answer("Good day.")], []),
    "system": ([_system("Be brief."), _user("Hello there."), _answer("Day.")], []),
    "two turns": ([_user("One?"), _answer("First."), _user("Two?"), _answer("Second.")], []),
    "three turns with system": (
        [_system("Count."), _user("A?"), _answer("Uno."), _user("B?"), _answer("Due."), _user("C?"), _answer("Tre.")],
        [],
    ),
    "no answer yet": ([_user("Is anybody here?")], []),
    "empty answer": ([_user("Say nothing."), _answer("")], []),
    "empty question": ([_user(""), _answer("You said nothing.")], []),
    "empty system": ([_system(""), _user("Hello there."), _answer("Good day.")], []),
    "unicode": (
        [
            _user("na\u00efve \u6f22\u5b57 \U0001f600 e\u0301?"),
            _answer("\u0634\u0643\u0631\u0627 \u2014 \U0001f44d\U0001f3fd."),
        ],
        [],
    ),
    "space around": ([_system("  S  "), _user("\n\n U \n"), _answer("  A \n\n")], []),
    "code": ([_user("{{ x }} {% if y %} \\n 'a' \"b\""), _answer("```py\nprint('<b>&amp;</b>')\n```")], []),
    "thought": ([_user("6 x 7?"), _answer("42.", thought="Six sevens are 42")], []),
    "empty thought": ([_user("6 x 7?"), _answer("42.", thought="")], []),
    "thought in the text": ([_user("6 x 7?"), _answer("<think>\nSix sevens\n</think>\n\n42.")], []),
    "thoughts in two turns": (
        [_user("1+1?"), _answer("Two.", thought="Easy one"), _user("2+2?"), _answer("Four.", thought="Also easy")],
        [],
    ),
    "tools, none called": ([_user("Hello there."), _answer("Good day.")], [WEATHER]),
    "tool": (
        [
            _system("Use tools."),
            _user("Oslo?"),
            _answer("", ASK),
            _result('{"sky": "grey"}', "call00001"),
            _answer("Grey."),
        ],
        [WEATHER, CLOCK],
    ),
    "tool, then another question": (
        [
            _user("Oslo?"),
            _answer("", ASK),
            _result("Rain, mostly", "call00001"),
            _answer("Wet."),
            _user("And Rome?"),
            _answer("I cannot say."),
        ],
        [WEATHER],
    ),
    "tool with thoughts": (
        [
            _user("Oslo?"),
            _answer("", ASK, thought="I should look it up"),
            _result("-9.5", "call00001"),
            _answer("It is freezing.", thought="That is cold"),
        ],
        [WEATHER],
    ),
    "text beside a call": (
        [_user("Oslo?"), _answer("Let me see.", ASK), _result("grey", "call00001"), _answer("It is overcast.")],
        [WEATHER],
    ),
    "parallel calls": (
        [
            _user("Oslo, and the time?"),
            _answer("", ASK, _call("clock.now", "call00002")),
            _result("grey", "call00001"),
            _result("noon", "call00002"),
            _answer("Overcast at midday."),
        ],
        [WEATHER, CLOCK],
    ),
    "difficult arguments": (
        [
            _user("Try."),
            _answer(
                "", _call("f", "call00003", a="42", b='q"u\\o\nte', c={"d": [1, 2.5, None, True]}, e="\u00e9", g="<x>")
            ),
            _result("[1, 2]", "call00003"),
            _answer("Done."),
        ],
        [_tool("f", "A function", a="string")],
    ),
    "call without schemas": (
        [_user("Oslo?"), _answer("", ASK), _result("grey", "call00001"), _answer("Overcast.")],
        [],
    ),
    "two questions in a row": ([_user("First this."), _user("Then that."), _answer("Both.")], []),
    "late system": ([_user("One?"), _answer("First."), _system("Now rhyme."), _user("Two?"), _answer("Blue.")], []),
    "answer first": ([_answer("I begin."), _user("Go on."), _answer("I end.")], []),
}
