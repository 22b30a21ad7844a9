"""What the round trip of other tools gets wrong, format by format: each fault has a test that it is not here."""

import datetime
import json

import pytest

from ft_plugin_templates.contract import tokenizer_for
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.pack import read
from ft_plugin_tool_parsers.formats import parser_of
from ft_plugin_tool_parsers.provide import thought_of
from ft_plugin_tool_parsers.roundtrip import read_back, written
from ftk_sdk.testing import installed

NESTED = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "enum": ["Oslo", "Rome"], "description": "Where"},
        "at": {"type": "object", "properties": {"hour": {"type": "integer"}}, "description": "When"},
        "days": {"type": "array", "items": {"type": "string"}, "description": "Which"},
    },
    "required": ["city"],
}


def template(name):
    component = installed().offered()[f"template:{name}"]
    facts = read(component.args["package"], name)
    return ChatTemplate(facts, tokenizer_for(facts))


def conversation(*calls):
    tool_calls = [
        {"type": "function", "id": f"call{i:05}", "function": {"name": name, "arguments": arguments}}
        for i, (name, arguments) in enumerate(calls)
    ]
    return [{"role": "user", "content": "Go."}, {"role": "assistant", "content": "", "tool_calls": tool_calls}]


def tool(name, **types):
    properties = {key: {"type": kind, "description": key} for key, kind in types.items()}
    parameters = {"type": "object", "properties": properties, "required": []}
    return {"type": "function", "function": {"name": name, "description": "Does it", "parameters": parameters}}


def back(name, format, *calls, tools=()):
    bound = template(name)
    assert bound.facts.tool_parser == format
    read = read_back(parser_of(format, thought_of(bound)), bound, conversation(*calls), tools)
    assert read.problems == ()
    return [(call.name, call.arguments) for call in read.tool_calls]


def test_default_keeps_names_with_dashes_and_dots_and_shows_nested_schemas():
    calls = [("get-weather.now", {"city": "Oslo"}), ("f", {})]
    function = {"name": "f", "description": "Does it", "parameters": NESTED}
    tools = [tool("get-weather.now", city="string"), {"type": "function", "function": function}]
    assert back("default", "default", *calls, tools=tools) == calls
    prompt = template("default").render([{"role": "user", "content": "Go."}], tools=tools, generation_prompt=True)
    assert json.dumps(NESTED) in prompt


@pytest.mark.parametrize("url", ["https://a.b:80/?q=1", "a:b,c:{d}", "12:30", "}<tool_call|>"])
def test_gemma4_reads_text_with_colons(url):
    assert back("gemma4", "gemma4", ("f", {"url": url, "n": 1}), tools=[tool("f", url="string", n="integer")]) == [
        ("f", {"url": url, "n": 1})
    ]


def test_gemma4_declares_enums_items_and_nested_properties():
    function = {"name": "f", "description": "Does it", "parameters": NESTED}
    prompt = template("gemma4").render(
        [{"role": "user", "content": "Go."}], tools=[{"type": "function", "function": function}], generation_prompt=True
    )
    declared = prompt[prompt.index("declaration:f") :]
    for part in ("enum:", "Oslo", "Rome", "items:", "hour", "INTEGER"):
        assert part in declared, f"{part} is not declared"


@pytest.mark.parametrize("name", ["glm4", "glmz1"])
def test_glm4_writes_and_reads_calls_in_parallel(name):
    calls = [("get-weather", {"city": "Oslo"}), ("clock.now", {})]
    assert back(name, "glm4", *calls, tools=[tool("get-weather", city="string"), tool("clock.now")]) == calls


def test_llama3_does_not_write_the_day_of_training_into_its_prompt():
    prompt = template("llama3").render(conversation(("f", {}))[:1], tools=[tool("f")])
    today = datetime.date.today()
    assert today.strftime("%d %b %Y") not in prompt and "26 Jul 2024" in prompt


@pytest.mark.parametrize("said", ["a\nb", 'say "hi"', "it's", "back\\slash", "x, y=1)", "\t"])
def test_lfm2_escapes_text_and_keeps_dashes_in_names(said):
    call = ("get-weather", {"text-of": said})
    assert back("lfm2", "lfm2", call, tools=[tool("get-weather", **{"text-of": "string"})]) == [call]


def test_minimax2_writes_the_wrapper_that_its_prompt_asks_for():
    calls = [("f", {"a": "x"}), ("g", {})]
    tools = [tool("f", a="string"), tool("g")]
    _, answer = written(template("minimax2"), conversation(*calls), tools)
    assert answer.count("<minimax:tool_call>") == answer.count("</minimax:tool_call>") == 1
    assert back("minimax2", "minimax2", *calls, tools=tools) == calls


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("qwen3_5", "qwen3_5"),
        ("seed_oss", "seed_oss"),
        ("mimo_v2", "mimo_v2"),
        ("glm4_moe", "glm4_moe"),
        ("hy3", "hy3"),
    ],
)
def test_text_that_looks_like_a_number_stays_text_and_numbers_stay_numbers(name, format):
    call = ("f", {"a": "42", "b": "true", "c": 42, "d": True, "e": [1, None], "g": "null"})
    types = dict(a="string", b="string", c="integer", d="boolean", e="array", g="string")
    made = back(name, format, call, tools=[tool("f", **types)])
    assert json.dumps(made) == json.dumps([call])


@pytest.mark.parametrize("name", ["glm4_moe", "glm4_7", "glm4_5v"])
def test_calls_of_glm4_moe_are_not_lost(name):
    calls = [("get-weather", {"city": "Oslo", "days": 2}), ("clock.now", {})]
    tools = [tool("get-weather", city="string", days="integer"), tool("clock.now")]
    assert back(name, "glm4_moe", *calls, tools=tools) == calls


def test_seed_oss_closes_the_name_of_the_function_as_its_prompt_does():
    _, answer = written(template("seed_oss"), conversation(("f", {"a": "x"})), [tool("f", a="string")])
    assert "<function=f>\n<parameter=a>x</parameter>\n</function>" in answer


def test_ling_adds_nothing_about_thinking_to_the_prompt_of_tools():
    messages = conversation(("f", {}))[:1]
    plain, tools = (template("bailing_v2").render(messages, tools=tools) for tools in ((), [tool("f")]))
    assert tools.count("detailed thinking") == plain.count("detailed thinking")


@pytest.mark.parametrize("name", ["gpt_oss", "deepseek3", "deepseekr1", "phi4_mini", "hunyuan"])
def test_families_with_a_format_of_their_own_have_it(name):
    call = ("get-weather", {"city": "Oslo"})
    assert back(name, template(name).facts.tool_parser, call, tools=[tool("get-weather", city="string")]) == [call]
