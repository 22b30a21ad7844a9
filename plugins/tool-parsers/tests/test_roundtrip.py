"""What a template writes, its parser reads back: names, arguments and their types, thoughts and text."""

import json
import string
from functools import cache

import jinja2
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ft_plugin_templates.contract import tokenizer_for
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.pack import read
from ft_plugin_tool_parsers.formats import NAMES as FORMATS
from ft_plugin_tool_parsers.formats import parser_of
from ft_plugin_tool_parsers.provide import thought_of
from ft_plugin_tool_parsers.roundtrip import written
from ftk.contracts import ParsedAnswer
from ftk.problems import RowError
from ftk_sdk.testing import installed

TRICKY = [
    *("", " ", "42", "-0.5", "007", "1e3", "true", "True", "null", "None", "[1]", '{"a": 1}', "'a'", '"a"'),
    *('say "hi"', "it's", "a\\b", "\\n", "a\nb", "\n", "a\n\nb\n", "\t", "https://a.b:80/?q=1&r=2#x", "f(a=1), g()"),
    *(
        "x, y",
        "a: b",
        "{",
        "}]",
        "```",
        "<",
        "</b>",
        "<tool_call>",
        "</tool_call>",
        "</think>",
        "\u00e9\u6f22\U0001f600",
    ),
]
NAMES = st.from_regex(r"[A-Za-z_\u00e9][A-Za-z0-9_\u00e9.-]{0,10}", fullmatch=True)
NUMBERS = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))
TEXTS = st.one_of(
    st.sampled_from(TRICKY),
    st.text(st.characters(exclude_categories=["Cs", "Co", "Cn"]), max_size=12),
    st.lists(st.sampled_from(TRICKY), min_size=2, max_size=3).map("".join),
)
NESTED = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)
PROSE = st.text(string.ascii_letters + " .,\n\u00e9", max_size=20).map(lambda text: f"I {text} see")

SEP, CALLS, CALL = (
    "<\uff5ctool\u2581sep\uff5c>",
    "<\uff5ctool\u2581calls\u2581%s\uff5c>",
    "<\uff5ctool\u2581call\u2581%s\uff5c>",
)
CALLS_OF = {
    "command_a": "<|START_ACTION|>[{% for c in calls %}{{ {'tool_call_id': loop.index0 | string, 'tool_name': c.name,"
    " 'parameters': c.arguments} | tojson }}{{ '' if loop.last else ',' }}\n{% endfor %}]<|END_ACTION|>",
    "command_r": "Action: ```json\n[{% for c in calls %}{{ {'tool_name': c.name, 'parameters': c.arguments} | tojson(indent=4) }}"
    "{{ '' if loop.last else ',\n' }}{% endfor %}]```",
    "deepseek3_1": CALLS % "begin"
    + "{% for c in calls %}"
    + CALL % "begin"
    + "{{ c.name }}"
    + SEP
    + "{{ c.arguments | tojson }}"
    + CALL % "end"
    + "{% endfor %}"
    + CALLS % "end",
    "hermes": "{% for c in calls %}<tool_call>\n{{ c | tojson }}\n</tool_call>\n{% endfor %}",
    "pythonic": "[{% for c in calls %}{{ c.name }}({% for k, v in c.arguments.items() %}{{ k }}={{ v | tojson }}"
    "{{ '' if loop.last else ', ' }}{% endfor %}){{ '' if loop.last else ', ' }}{% endfor %}]",
    "qwen3_coder": "{% for c in calls %}<tool_call>\n<function={{ c.name }}>\n{% for k, v in c.arguments.items() %}"
    "<parameter={{ k }}>\n{{ v if v is string else v | tojson }}\n</parameter>\n{% endfor %}</function>\n</tool_call>\n{% endfor %}",
}
"""How the formats are written that no template of the packs writes."""

KINDS = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}


def schema_of(value):
    return {} if value is None else {"type": KINDS[type(value)], "description": "A value"}


def tool_of(name, arguments):
    properties = {key: schema_of(value) for key, value in arguments.items()}
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": "Does it", "parameters": parameters}}


@cache
def template(name):
    """A template bound to a tokenizer of single bytes."""
    (component,) = [c for c in installed().offered().values() if c.id == f"template:{name}"]
    facts = read(component.args["package"], name)
    return ChatTemplate(facts, tokenizer_for(facts))


@cache
def with_tools():
    """Name -> parser of every installed template that writes tool calls. Those with the same text are named once."""
    found, seen = {}, set()
    for component in sorted(installed().offered().values(), key=lambda c: c.id):
        if component.kind == "template" and "package" in component.args:
            facts = read(component.args["package"], component.name)
            if facts.tool_parser and facts.chat_template not in seen:
                seen.add(facts.chat_template)
                found[component.name] = facts.tool_parser
    return found


def turn(calls, content="", reasoning=""):
    """The conversation, and the tools that it has."""
    answer = {"role": "assistant", "content": content}
    if reasoning:
        answer["reasoning_content"] = reasoning
    answer["tool_calls"] = [
        {"type": "function", "id": f"call{i:05}", "function": {"name": name, "arguments": arguments}}
        for i, (name, arguments) in enumerate(calls)
    ]
    return [{"role": "user", "content": "Do it."}, answer], [tool_of(name, arguments) for name, arguments in calls]


@cache
def takes(name, what):
    """Whether a template takes two calls in a turn ("parallel"), text beside a call ("text"), or a thought ("thought")."""
    calls = [("f", {"a": "x"}), ("g", {"b": 1})] if what == "parallel" else [("f", {"a": "x"})]
    messages, tools = turn(calls, *{"text": ("I see",), "thought": ("", "I think")}.get(what, ()))
    (encoded,) = template(name).encode([(messages, tools)])
    return not isinstance(encoded, RowError)


UNWRITABLE = {
    "gemma4": ['<|"|>'],  # the quotation mark, for which there is no escape
}
"""What cannot stand in text, because the vendor's own format cannot tell where the text ends."""

quick = settings(
    max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def pieces(text, cuts):
    places = sorted({cut % (len(text) + 1) for cut in cuts})
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


def test_every_template_with_tools_names_a_parser_that_there_is():
    assert len(with_tools()) > 30
    assert set(with_tools().values()) <= set(FORMATS)


@pytest.mark.parametrize("name", with_tools())
@quick
@given(data=st.data())
def test_calls_are_read_back_as_they_were_written(name, data):
    format = with_tools()[name]
    some = st.dictionaries(NAMES, st.dictionaries(NAMES, NESTED, max_size=4), min_size=1, max_size=3)
    calls = list(data.draw(some).items())[: 3 if takes(name, "parallel") else 1]
    assume(not any(mark in json.dumps(calls) for mark in UNWRITABLE.get(format, ())))
    content = data.draw(st.one_of(st.just(""), PROSE)) if takes(name, "text") else ""
    reasoning = data.draw(st.one_of(st.just(""), PROSE)) if takes(name, "thought") else ""
    messages, tools = turn(calls, content, reasoning)
    prompt, answer = written(template(name), messages, tools)

    parser = parser_of(format, thought_of(template(name)))
    read = parser.parse(answer, tools=tools, prompt=prompt)
    # As JSON, because 1 == 1.0 == True; sorted, because Gemma's template sorts.
    made = [(c.name, json.dumps(c.arguments, sort_keys=True)) for c in read.tool_calls]
    assert made == [(name, json.dumps(arguments, sort_keys=True)) for name, arguments in calls], answer
    assert (read.content, read.reasoning, read.problems) == (content, reasoning, ()), answer

    reader = parser.stream(tools=tools, prompt=prompt)
    cut = pieces(answer, data.draw(st.lists(st.integers(0, 10**6), max_size=8)))
    assert ParsedAnswer.of([d for piece in cut for d in reader.feed(piece)] + reader.close()) == read


@pytest.mark.parametrize("format", CALLS_OF)
@quick
@given(
    made=st.dictionaries(NAMES, st.dictionaries(NAMES, NESTED, max_size=4), min_size=1, max_size=3),
    cuts=st.lists(st.integers(0, 10**6), max_size=8),
)
def test_formats_without_a_template_are_read_back_as_the_vendors_write_them(format, made, cuts):
    calls = [{"name": name, "arguments": arguments} for name, arguments in made.items()]
    answer = compiled(CALLS_OF[format]).render(calls=calls)
    tools = [tool_of(name, arguments) for name, arguments in made.items()]
    reader = parser_of(format).stream(tools=tools)
    read = ParsedAnswer.of([d for piece in pieces(answer, cuts) for d in reader.feed(piece)] + reader.close())
    assert read.problems == () and read.content == "", answer
    assert [(c.name, json.dumps(c.arguments)) for c in read.tool_calls] == [
        (name, json.dumps(arguments)) for name, arguments in made.items()
    ], answer


def test_every_format_is_written_by_a_template_or_here():
    same = {"ling": "qwen"}
    assert set(FORMATS) == {same.get(f, f) for f in with_tools().values()} | set(CALLS_OF) | set(same)


@cache
def compiled(text):
    environment = jinja2.Environment()
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    return environment.from_string(text)


@pytest.mark.parametrize("name", with_tools())
@settings(quick, max_examples=5)
@given(arguments=st.dictionaries(NAMES, NESTED, max_size=3))
def test_arguments_are_written_alike_as_an_object_and_as_json(name, arguments):
    messages, tools = turn([("f", arguments)])
    as_text, _ = turn([("f", arguments)])
    (call,) = as_text[1]["tool_calls"]
    call["function"]["arguments"] = json.dumps(arguments)
    assert template(name).render(as_text, tools=tools) == template(name).render(messages, tools=tools)


@pytest.mark.parametrize("name", with_tools())
def test_answers_without_calls_are_text(name):
    parser = parser_of(with_tools()[name], thought_of(template(name)))
    messages, tools = turn([("f", {"a": 1})])
    for said in ("Good day.", "a [b] {c}", "1\n2", "[1, 2]", '{"name": "x"}', "Action?", "f"):
        answer = [messages[0], {"role": "assistant", "content": said}]
        prompt, text = written(template(name), answer, tools)
        assert parser.parse(text, tools=tools, prompt=prompt) == ParsedAnswer(content=said), text
