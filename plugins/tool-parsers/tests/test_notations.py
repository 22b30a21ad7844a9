"""Values in the notations of calls, and how they are told from what is not there yet."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ft_plugin_tool_parsers.gemma_calls import GemmaCalls
from ft_plugin_tool_parsers.json_calls import JsonCalls, json_value
from ft_plugin_tool_parsers.python_calls import PythonCalls, value
from ft_plugin_tool_parsers.reading import Broken, Incomplete
from ft_plugin_tool_parsers.scanner import Scanner
from ft_plugin_tool_parsers.xml_calls import typed, types_of

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=8,
)
quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@quick
@given(st.one_of(st.lists(JSON, max_size=4), st.dictionaries(st.text(max_size=4), JSON, max_size=4)), st.booleans())
def test_json_is_read_whole_and_no_part_of_it_is_taken_for_broken(wanted, ascii):
    text = json.dumps(wanted, ensure_ascii=ascii)
    made, end = json_value(text + " and more", 0)
    assert json.dumps(made) == json.dumps(wanted) and end == len(text)
    for cut in range(len(text)):
        with pytest.raises(Incomplete):
            json_value(text[:cut], 0)


@pytest.mark.parametrize(
    "text", ["{a: 1}", '{"a" 1}', '{"a": 1,,', '{"a": x', '{"a": 01}', '["a" "b"]', "{'a': 1}", '["\\q"]', "7", '"a"']
)
def test_what_is_not_json_is_broken_whatever_follows(text):
    for rest in ("", "}", ' "'):
        with pytest.raises(Broken):
            json_value(text + rest, 0)


def test_json_beyond_the_interpreters_limits_is_broken():
    for text in ("[" * 100_000, '{"a": ' + "9" * 5000 + "}"):
        with pytest.raises(Broken):
            json_value(text, 0)


def test_line_breaks_in_strings_are_taken_as_they_are():
    assert json_value('{"a": "one\ntwo"}', 0)[0] == {"a": "one\ntwo"}


@quick
@given(JSON.filter(lambda v: not isinstance(v, float) or abs(v) < 1e300))
def test_literals_of_python_and_of_json_are_read_alike(wanted):
    for text in (repr(wanted), json.dumps(wanted), json.dumps(wanted, ensure_ascii=False)):
        made = value(Scanner(text + ")", 0))
        assert json.dumps(made) == json.dumps(wanted), text


@quick
@given(st.text(max_size=20))
def test_strings_of_python_keep_every_character(said):
    for text in (repr(said), json.dumps(said), json.dumps(said, ensure_ascii=False)):
        assert Scanner(text, 0).quoted() == said


@pytest.mark.parametrize("text", ["0x10", "1_000", "--1", "nothing", "1e99999999999"])
def test_other_words_are_no_values(text):
    with pytest.raises(Broken):
        value(Scanner(f"{text})", 0))


@pytest.mark.parametrize(
    ("grammar", "text"),
    [
        (PythonCalls(("<s>",), "</s>"), "<s>[f(a='x, y)', b=[1, {\"c\": null}], c=-2.5), g()]</s>"),
        (GemmaCalls(), '<|tool_call>call:f{a:<|"|>x:}<|"|>,b:[1,{c:null}],d:-2.5}<tool_call|>'),
        (JsonCalls(("<s>",), "</s>"), '<s>[{"name": "f", "arguments": {"a": "</s>"}}, {"name": "g"}]</s>'),
    ],
)
def test_the_beginning_of_a_call_waits_for_the_rest(grammar, text):
    read = grammar.read(text, 0, final=False, tools=())
    assert read.end == len(text) and read.calls[0].name == "f"
    assert grammar.read(text + text, 0, final=False, tools=()) == read
    for cut in range(3 if not isinstance(grammar, GemmaCalls) else 12, len(text)):
        with pytest.raises(Incomplete):
            grammar.read(text[:cut], 0, final=False, tools=())


@pytest.mark.parametrize("grammar", [PythonCalls(("<s>",)), GemmaCalls()])
def test_endless_nesting_is_broken(grammar):
    text = {PythonCalls: "<s>[f(a=" + "[" * 100_000, GemmaCalls: "<|tool_call>call:f{a:" + "[" * 100_000}[type(grammar)]
    with pytest.raises(Broken, match="levels"):
        grammar.read(text, 0, final=False, tools=())


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("42", {"type": "string"}, "42"),
        ("42", {"type": "integer"}, 42),
        ("42", {"type": "number"}, 42),
        ("true", {"type": "string"}, "true"),
        ("true", {"type": "boolean"}, True),
        ("True", {"type": "boolean"}, True),
        ("null", {"type": ["string", "null"]}, None),
        ("nil", {"type": ["string", "null"]}, "nil"),
        ("null", {"type": "string"}, "null"),
        ("1", {"anyOf": [{"type": "integer"}, {"type": "string"}]}, 1),
        ("one", {"anyOf": [{"type": "integer"}, {"type": "string"}]}, "one"),
        ("true", {"type": ["integer", "string"]}, "true"),
        ("1", {"enum": ["1", "2"]}, "1"),
        ("1", {"enum": [1, 2]}, 1),
        ('{"a": [1]}', {"type": "object"}, {"a": [1]}),
        ("{'a': [1, None, True]}", {"type": "object"}, {"a": [1, None, True]}),
        ("[1, 2", {"type": "array"}, "[1, 2"),
        ("many", {"type": "integer"}, "many"),
        ('{"a": 1}', {"type": "string"}, '{"a": 1}'),
        ("42", None, 42),
        ("4 2", None, "4 2"),
        ("'quoted'", None, "'quoted'"),
        ("NaN", None, "NaN"),
        ("{1, 2}", None, "{1, 2}"),
        ("", None, ""),
        ("x", {"type": "integer", "nullable": True}, "x"),
        ("x", {"$ref": "#/a"}, "x"),
    ],
)
def test_a_bare_text_means_what_the_schema_says(text, schema, value):
    made = typed(text, schema)
    assert (made, type(made)) == (value, type(value))


def test_types_of_a_schema_are_all_that_it_allows():
    assert types_of({"type": "string", "nullable": True}) == {"string", "null"}
    assert types_of({"oneOf": [{"type": "string"}, {}]}) == set()
    assert types_of("nothing") == types_of({"type": 5}) == set()
