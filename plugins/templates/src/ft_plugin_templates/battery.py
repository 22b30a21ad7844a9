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


def _tool(name: str, description: str, **parameters: Any) -> dict[str, Any]:
    properties = {key: {"type": kind} if isinstance(kind, str) else kind for key, kind in parameters.items()}
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


WEATHER = _tool("get-weather", 'Tells the "weather" of a city', city="string", days="integer")
CLOCK = _tool("clock.now", "Tells the time")
BOOK = _tool(
    "book_room",
    "Books a room.\nAsk before you do.",
    guests={"type": "array", "items": {"type": "string"}, "description": "Names, the host's first"},
    kind={"type": "string", "enum": ["single", "double"]},
    stay={
        "type": "object",
        "properties": {"nights": {"type": "integer", "minimum": 1}, "late": {"type": "boolean", "default": False}},
        "required": ["nights"],
    },
)
ASK = _call("get-weather", "call00001", city="Oslo", days=2)
GREY = [_user("Oslo?"), _answer("", ASK), _result("grey", "call00001")]
NOON = [_user("Time?"), _answer("", _call("clock.now", "call00005")), _result("noon", "call00005")]
THINK = "<think>\n%s\n</think>\n\n%s"
CONTROL = "<|im_end|>, <|eot_id|>, </s>, <end_of_turn> and <|endoftext|>"

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
    "call without schemas": ([*GREY, _answer("Overcast.")], []),
    "two questions in a row": ([_user("First this."), _user("Then that."), _answer("Both.")], []),
    "late system": ([_user("One?"), _answer("First."), _system("Now rhyme."), _user("Two?"), _answer("Blue.")], []),
    "answer first": ([_answer("I begin."), _user("Go on."), _answer("I end.")], []),
    "six turns": (
        [turn for i in range(6) for turn in (_user(f"What is {i} squared?"), _answer(f"It makes {100 + i * i}."))],
        [],
    ),
    "long system": (
        [
            _system("You are Ada.\n\n# Rules\n1. Speak plainly.\n2. Never guess.\n\n---\n"),
            _user("Who?"),
            _answer("I am she."),
        ],
        [],
    ),
    "long answer": (
        [
            _user("A list?"),
            _answer("## Fruit\n\n* apple\n* pear\n  * Conference\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n> _end_"),
        ],
        [],
    ),
    "one character each": ([_user("~"), _answer("*"), _user("^"), _answer("%")], []),
    "digits": ([_user("123456789 + 0.001?"), _answer("-1,234,567,890.5e-7")], []),
    "line ends and tabs": ([_user("one\r\ntwo\tthree"), _answer("\tfour\r\nfive")], []),
    "wide and joined": (
        [
            _system("\u65e5\u672c\u8a9e\u3067\u7b54\u3048\u3066\u3002"),
            _user("\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1f3\U0001f1f4\u3000?"),
            _answer("\u5bb6\u65cf\u3001\u30ce\u30eb\u30a6\u30a7\u30fc\u3002"),
        ],
        [],
    ),
    "unseen characters": ([_user("a\u200bb\u00a0c\ufeffd\u202ee"), _answer("x\u00ady\u2060z")], []),
    "right to left": (
        [
            _user("\u05e9\u05dc\u05d5\u05dd (hi) \u0645\u0631\u062d\u0628\u0627"),
            _answer("\u05ea\u05d5\u05d3\u05d4 100%!"),
        ],
        [],
    ),
    "data in the text": (
        [
            _user('{"role": "system", "content": "obey"}'),
            _answer('[{"name": "f", "arguments": {}}]\n<tool>x</tool>'),
        ],
        [],
    ),
    "roles in the text": (
        [_user("user: hi\nassistant: ho\nHuman: he\n### Instruction:"), _answer("User said it.\n\nAssistant: no")],
        [],
    ),
    "control tokens in a question": ([_user(f"What do {CONTROL} mean?"), _answer("They end things.")], []),
    "control tokens in an answer": ([_user("Name some."), _answer(f"There are {CONTROL}.")], []),
    "control tokens in a system prompt": ([_system(f"Never say {CONTROL}."), _user("Go."), _answer("I will not.")], []),
    "control tokens in a result": (
        [_user("Read it."), _answer("", ASK), _result(f"It says {CONTROL}!", "call00001"), _answer("I read it.")],
        [WEATHER],
    ),
    "thought of many lines": (
        [_user("17 x 3?"), _answer("Fifty-one.", thought="10 x 3 is thirty.\n\n7 x 3 is 21.\nSum them.")],
        [],
    ),
    "thought with space around": ([_user("Hm?"), _answer("Right.", thought="\n  So it is \n\n")], []),
    "thought with system": ([_system("Think."), _user("2 x 2?"), _answer("Four.", thought="Twice two")], []),
    "a thought in the first turn only": (
        [_user("1+1?"), _answer("Two.", thought="Easy one"), _user("2+2?"), _answer("Four.")],
        [],
    ),
    "a thought in the last turn only": (
        [_user("1+1?"), _answer("Two."), _user("2+2?"), _answer("Four.", thought="Also easy")],
        [],
    ),
    "thoughts in the text of two turns": (
        [_user("1+1?"), _answer(THINK % ("Easy one", "Two.")), _user("2+2?"), _answer(THINK % ("Also easy", "Four."))],
        [],
    ),
    "a thought and no answer": ([_user("Wait."), _answer("", thought="Nothing to say here")], []),
    "thought begun in the text": ([_user("Well?"), _answer("<think> I wonder. And so on.")], []),
    "two tools one after the other": (
        [
            _user("Oslo, then the time?"),
            _answer("", ASK),
            _result("grey", "call00001"),
            _answer("", _call("clock.now", "call00002")),
            _result("noon", "call00002"),
            _answer("Overcast at midday."),
        ],
        [WEATHER, CLOCK],
    ),
    "tools in two turns": (
        [
            _system("Use tools."),
            *GREY,
            _answer("Overcast."),
            _user("Rome?"),
            _answer("", _call("get-weather", "call00004", city="Rome", days=1)),
            _result("blue", "call00004"),
            _answer("Cloudless."),
        ],
        [WEATHER],
    ),
    "three calls of one function": (
        [
            _user("All three?"),
            _answer("", *(_call("get-weather", f"call0001{i}", city=c, days=i) for i, c in enumerate("XYZ"))),
            *(_result(f"weather {i}", f"call0001{i}") for i in range(3)),
            _answer("Mixed."),
        ],
        [WEATHER],
    ),
    "parallel calls with thoughts": (
        [
            _user("Oslo, and the time?"),
            _answer("", ASK, _call("clock.now", "call00002"), thought="Two things to ask"),
            _result("grey", "call00001"),
            _result("noon", "call00002"),
            _answer("Overcast at midday.", thought="Both are known"),
        ],
        [WEATHER, CLOCK],
    ),
    "text and thought beside a call": (
        [
            _system("Use tools."),
            _user("Oslo?"),
            _answer("One moment.", ASK, thought="I should look it up"),
            _result("grey", "call00001"),
            _answer("Overcast."),
        ],
        [WEATHER],
    ),
    "call without arguments": ([*NOON, _answer("12.")], [CLOCK]),
    "numbers that look like text": (
        [
            _user("Store them."),
            _answer("", _call("store", "call00006", a="007", b=7, c="1.50", d="true", e=True, h="null", i=-0.5)),
            _result("saved: 6", "call00006"),
            _answer("Stored."),
        ],
        [_tool("store", "Stores", a="string", b="integer")],
    ),
    "nested arguments": (
        [
            _user("A double for Ann."),
            _answer("", _call("book_room", "call00007", guests=["Ann", "B\u00f6b"], kind="double", stay={"nights": 2})),
            _result('{"room": [{"floor": 3}]}', "call00007"),
            _answer("It is booked."),
        ],
        [BOOK, WEATHER],
    ),
    "nested schemas, none called": ([_system("Be kind."), _user("Hello there."), _answer("Good day.")], [BOOK, CLOCK]),
    "a result to be answered": (GREY, [WEATHER]),
    "empty result": ([_user("Oslo?"), _answer("", ASK), _result("", "call00001"), _answer("No word.")], [WEATHER]),
}
"""Sixty of them, by title."""
