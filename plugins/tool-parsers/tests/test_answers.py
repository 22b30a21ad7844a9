"""Answers among which calls stand: cut anywhere, malformed in any way, nothing is lost and nothing raises."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ft_plugin_tool_parsers.answer import FormatParser
from ft_plugin_tool_parsers.formats import FORMATS, NAMES, parser_of
from ftk.contracts import Delta, ParsedAnswer, ToolCall

THINK = ("<think>", "</think>")
CALL = ToolCall("f", {"a": "x"})
ONE = {
    "qwen": '<tool_call>\n{"name": "f", "arguments": {"a": "x"}}\n</tool_call>',
    "minimax1": '<tool_calls>\n{"name": "f", "arguments": {"a": "x"}}\n</tool_calls>',
    "hunyuan": '<tool_calls>[{"name": "f", "arguments": {"a": "x"}}]</tool_calls>',
    "granite": '<|tool_call|>[{"name": "f", "arguments": {"a": "x"}}]',
    "phi4": '<|tool_call|>[{"name": "f", "arguments": {"a": "x"}}]<|/tool_call|>',
    "mistral": '[TOOL_CALLS] [{"name": "f", "arguments": {"a": "x"}}]',
    "mistral_v13": '[TOOL_CALLS]f[ARGS]{"a": "x"}',
    "llama3": '{"name": "f", "parameters": {"a": "x"}}',
    "command_r": 'Action: ```json\n[\n    {\n        "tool_name": "f",\n        "parameters": {"a": "x"}\n    }\n]```',
    "command_a": '<|START_ACTION|>[\n    {"tool_name": "f", "parameters": {"a": "x"}}\n]<|END_ACTION|>',
    "deepseek3": '<\uff5ctool\u2581calls\u2581begin\uff5c><\uff5ctool\u2581call\u2581begin\uff5c>function<\uff5ctool\u2581sep\uff5c>f\n```json\n{"a": "x"}\n```<\uff5ctool\u2581call\u2581end\uff5c><\uff5ctool\u2581calls\u2581end\uff5c>',
    "deepseek3_1": '<\uff5ctool\u2581calls\u2581begin\uff5c><\uff5ctool\u2581call\u2581begin\uff5c>f<\uff5ctool\u2581sep\uff5c>{"a": "x"}<\uff5ctool\u2581call\u2581end\uff5c><\uff5ctool\u2581calls\u2581end\uff5c>',
    "glm4": 'f\n{"a": "x"}',
    "default": 'Action: f\nAction Input: {"a": "x"}',
    "qwen3_5": "<tool_call>\n<function=f>\n<parameter=a>\nx\n</parameter>\n</function>\n</tool_call>",
    "mimo_v2": "<tool_call>\n<function=f>\n<parameter=a>x</parameter>\n</function>\n</tool_call>",
    "seed_oss": "<seed:tool_call>\n<function=f>\n<parameter=a>x</parameter>\n</function>\n</seed:tool_call>",
    "minimax2": '<minimax:tool_call>\n<invoke name="f">\n<parameter name="a">x</parameter>\n</invoke>\n</minimax:tool_call>',
    "glm4_moe": "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>x</arg_value>\n</tool_call>",
    "hy3": "<tool_calls>\n<tool_call>f<tool_sep>\n<arg_key>a</arg_key>\n<arg_value>x</arg_value>\n</tool_call>\n</tool_calls>",
    "lfm2": "<|tool_call_start|>[f(a='x')]<|tool_call_end|>",
    "pythonic": "[f(a='x')]",
    "gemma4": '<|tool_call>call:f{a:<|"|>x<|"|>}<tool_call|>',
    "harmony": '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": "x"}<|call|>',
    "kimi_k2": '<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{"a": "x"}<|tool_call_end|><|tool_calls_section_end|>',
}
"""The call ``f(a="x")`` in each format, but for other names of the same."""
BARE = ("llama3", "glm4", "pythonic")
quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def read_in(pieces, parser, **about):
    reader = parser.stream(**about)
    deltas = [delta for piece in pieces for delta in reader.feed(piece)]
    return ParsedAnswer.of([*deltas, *reader.close()])


def test_each_format_is_here():
    same = {"hermes": "qwen", "ling": "qwen", "qwen3_coder": "qwen3_5"}
    assert {same.get(name, name) for name in NAMES} == set(ONE)
    assert all(FORMATS[name] == FORMATS[other] for name, other in same.items())


@pytest.mark.parametrize("name", FORMATS)
def test_no_mark_begins_with_another(name):
    marks = FORMATS[name].marks
    assert not [(a, b) for a in marks for b in marks if a != b and b.startswith(a)]


@pytest.mark.parametrize("name", ONE)
def test_a_call_is_read_with_text_before_it_and_without_its_end(name):
    parser = parser_of(name, THINK)
    (call,) = parser.parse(ONE[name]).tool_calls
    assert (call.name, call.arguments, call.id) == ("f", {"a": "x"}, "functions.f:0" if name == "kimi_k2" else "")
    if name not in (*BARE, "harmony"):
        read = parser.parse(f"<think>\nHm.\n</think>\n\nLet me see.\n{ONE[name]}\n")
        assert (read.content, read.reasoning, read.problems) == ("Let me see.", "Hm.", ())
        assert len(read.tool_calls) == 1


@pytest.mark.parametrize("name", ONE)
def test_an_answer_cut_between_any_two_characters_is_the_same(name):
    parser = parser_of(name, THINK)
    text = ONE[name] + "\n" + ONE[name]
    whole = parser.parse(text)
    assert len(whole.tool_calls) == 2
    assert read_in(text, parser) == whole
    for cut in range(1, len(text)):
        assert read_in((text[:cut], text[cut:]), parser) == whole, (text[:cut], text[cut:])


@pytest.mark.parametrize("name", ONE)
def test_an_answer_that_breaks_off_loses_nothing(name):
    parser = parser_of(name, THINK)
    for cut in range(1, len(ONE[name])):
        read = parser.parse(ONE[name][:cut])
        if not read.tool_calls and name != "harmony":
            assert read.content == ONE[name][:cut].strip()
        assert read.tool_calls in ((), parser.parse(ONE[name]).tool_calls)


@pytest.mark.parametrize("name", ONE)
@settings(quick, max_examples=30)
@given(data=st.data())
def test_any_mixture_of_its_marks_is_read_the_same_wherever_it_is_cut(name, data):
    marks = FORMATS[name].marks if name in FORMATS else ("<|channel|>", "<|message|>", "<|end|>", "<|start|>", "to=f ")
    half = len(ONE[name]) // 2
    parts = [
        *marks,
        *THINK,
        ONE[name],
        ONE[name][:half],
        ONE[name][half:],
        " ",
        "\n",
        "a",
        "{",
        "}",
        '"',
        "[",
        "{}",
        "f\n",
    ]
    text = "".join(data.draw(st.lists(st.sampled_from(parts), max_size=12)))
    prompt = data.draw(st.sampled_from(("", "<think>\n")))
    parser = parser_of(name, THINK)
    whole = parser.parse(text, prompt=prompt)
    assert read_in(text, parser, prompt=prompt) == whole, text
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    cut = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read_in(cut, parser, prompt=prompt) == whole, cut


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("qwen", "<tool_call>\n{'name': 'f'}\n</tool_call>", "Expecting property name"),
        ("qwen", '<tool_call>{"name": "f", "arguments": {}}}</tool_call>', "after the call stands '}'"),
        ("qwen", '<tool_call>{"arguments": {}}</tool_call>', "no name"),
        ("qwen", '<tool_call>{"name": "f", "arguments": [1]}</tool_call>', "not an object"),
        ("qwen", '<tool_call>{"name": "f", "arguments": "{"}</tool_call>', "not JSON"),
        ("qwen", "<tool_call></tool_call>", "neither an object"),
        ("qwen", '<tool_call>{"name": "f", "argum', "cut off"),
        ("qwen", "<tool_call>[]</tool_call>", "empty"),
        ("mistral_v13", "[TOOL_CALLS]f[ARGS]x", "neither an object"),
        ("mistral_v13", "[TOOL_CALLS]my function[ARGS]{}", "no ' ' in names"),
        ("kimi_k2", "<|tool_call_begin|>f<|tool_call_argument_begin|>{}<|tool_call_end|>", "does not name a tool"),
        ("qwen3_5", "<tool_call>\nf(1)\n</tool_call>", "no call follows '<tool_call>'"),
        ("qwen3_5", "<function=f>\nx</function>", "begins no parameter"),
        ("qwen3_5", "<function=f>\n<parameter=a>\n1", "cut off"),
        ("qwen3_5", "<function=>\n</function>", "no name"),
        ("glm4_moe", "<tool_call>f\n<arg_key>a</arg_key>x</tool_call>", "no value"),
        ("lfm2", "<|tool_call_start|>[f('x')]<|tool_call_end|>", "a name is expected"),
        ("lfm2", "<|tool_call_start|>[]<|tool_call_end|>", "empty"),
        ("gemma4", "<|tool_call>f{}<tool_call|>", "'call:' is expected"),
        ("harmony", "<|channel|>commentary to=functions.f<|message|>x<|call|>", "neither an object"),
    ],
)
def test_a_malformed_call_is_text_with_a_problem(name, text, problem):
    read = parser_of(name).parse(f"{text}")
    assert read.tool_calls == () and problem in read.problems[0]
    assert read.content == text.removesuffix("<|call|>")


def test_a_call_after_a_malformed_one_is_read():
    read = parser_of("qwen").parse(f'<tool_call>\n{{"name": "g, "arguments": {{}}}}\n</tool_call>\n{ONE["qwen"]}')
    assert read.tool_calls == (CALL,) and len(read.problems) == 1
    read = parser_of("qwen").parse(f'<tool_call>\n{{"name": "g\n</tool_call>\n{ONE["qwen"]}')
    assert read.tool_calls == (CALL,) and len(read.problems) == 1


def test_the_end_of_a_call_within_its_arguments_is_not_its_end():
    said = "</tool_call> <tool_call>{}"
    read = parser_of("qwen").parse(f'<tool_call>{{"name": "f", "arguments": {{"a": "{said}"}}}}</tool_call>')
    assert read == ParsedAnswer(tool_calls=(ToolCall("f", {"a": said}),))
    read = parser_of("mimo_v2").parse("<function=f>\n<parameter=a></parameter> is an end</parameter>\n</function>")
    assert read.tool_calls == (ToolCall("f", {"a": "</parameter> is an end"}),)


def test_calls_in_a_thought_are_part_of_it():
    read = parser_of("qwen", THINK).parse(
        f"I may write {ONE['qwen']}</think>No.", prompt="<|im_start|>assistant\n<think>\n"
    )
    assert read == ParsedAnswer(content="No.", reasoning=f"I may write {ONE['qwen']}")


def test_a_thought_begins_an_answer_and_is_text_elsewhere():
    parser = parser_of("qwen", THINK)
    assert parser.parse("<think>a</think>b").reasoning == "a"
    assert parser.parse("Write <think> first.") == ParsedAnswer(content="Write <think> first.")
    assert parser.parse("</think>\nNo.") == ParsedAnswer(content="No.")
    assert parser.parse("<think>never ends") == ParsedAnswer(reasoning="never ends")
    assert parser_of("qwen").parse("<think>a</think>b").content == "<think>a</think>b"


def test_text_comes_as_soon_as_it_is_known_to_be_text():
    reader = parser_of("qwen", THINK).stream()
    assert reader.feed("Let") == [Delta(content="Let")]
    assert reader.feed(" me see.\n") == [Delta(content=" me see.")]
    assert reader.feed("<tool") == []
    assert reader.feed("_box>") == [Delta(content="\n<tool_box>")]
    assert reader.feed(ONE["qwen"][:-1]) == [] and reader.feed(">") == [Delta(call=CALL)]
    assert reader.close() == []


def test_a_call_without_marks_stands_where_an_answer_begins_only():
    tools = [{"type": "function", "function": {"name": "f"}}]
    for name in BARE:
        parser = parser_of(name)
        assert parser.parse(ONE[name], tools=tools).tool_calls == (CALL,)
        assert parser.parse(f"So: {ONE[name]}", tools=tools).content == f"So: {ONE[name]}"
        other = ONE[name].replace("f", "g", 1)
        assert parser.parse(other, tools=tools) == ParsedAnswer(content=other)


def test_arguments_may_be_missing_or_json_in_a_string():
    parser = parser_of("qwen")
    for written in ('{"name": "f"}', '{"name": "f", "arguments": null}', '{"name": "f", "arguments": ""}'):
        assert parser.parse(f"<tool_call>{written}</tool_call>").tool_calls == (ToolCall("f", {}),)
    written = '{"name": "f", "arguments": "{\\"a\\": \\"x\\"}"}'
    assert parser.parse(f"<tool_call>{written}</tool_call>").tool_calls == (CALL,)


def test_harmony_keeps_its_channels_apart():
    text = (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>I look.<|end|>"
        '<|start|>assistant to=functions.f<|channel|>commentary json<|message|>{"a": "x"}<|call|>'
        "<|start|>assistant<|channel|>final<|message|>Done.<|return|>"
    )
    read = parser_of("harmony").parse(text, prompt="<|start|>assistant")
    assert read == ParsedAnswer("I look.\n\nDone.", "Hm.", (CALL,))
    assert read_in(text, parser_of("harmony")) == read
    assert parser_of("harmony").parse("Plain text, to=f.").content == "Plain text, to=f."


def test_an_answer_is_a_message():
    read = ParsedAnswer("Let me see.", "Hm.", (ToolCall("f", {"a": 1}, "id9"),))
    assert read.as_message() == {
        "role": "assistant",
        "content": "Let me see.",
        "reasoning_content": "Hm.",
        "tool_calls": [{"id": "id9", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}],
    }
    assert ParsedAnswer("Hi").as_message() == {"role": "assistant", "content": "Hi"}


def test_a_format_without_thoughts_of_its_own_takes_those_of_the_template():
    assert FormatParser(FORMATS["mistral"]).parse("[THINK]a[/THINK]b").reasoning == "a"
    assert FormatParser(FORMATS["mistral"], THINK).parse("<think>a</think>b").reasoning == "a"
