"""Which parser a run gets."""

from pathlib import Path

import pytest

from ft_plugin_templates.contract import tokenizer_for
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.pack import Facts
from ft_plugin_tool_parsers import plugin
from ft_plugin_tool_parsers.formats import FORMATS, NAMES
from ft_plugin_tool_parsers.harmony import Harmony
from ft_plugin_tool_parsers.plugin import SUMMARIES
from ftk.contracts import AnswerReader, Delta, ParsedAnswer, ToolCall, ToolParser
from ftk.markers import hookimpl
from ftk.problems import ConfigError, RunError
from ftk_sdk.contracts import PluginContract, ToolParserContract
from ftk_sdk.fakes import installed_with
from ftk_sdk.fakes import plugin as fake
from ftk_sdk.testing import make_plan, make_run
from ftk_sdk.tiny import tiny_tokenizer

HERMES = """\
{%- for m in messages %}
{{- '<|im_start|>' + m.role + '\\n' + (m.content or '') }}
{%- for c in m.tool_calls or [] %}
{{- '\\n<tool_call>\\n' + {'name': c.function.name, 'arguments': c.function.arguments} | tojson + '\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{{- '<|im_start|>assistant\\n' if add_generation_prompt }}
{#- tools #}"""
XML = HERMES.replace(
    "{'name': c.function.name, 'arguments': c.function.arguments} | tojson",
    "'<function=' + c.function.name + '></function>'",
)
NO_JSON = "a call cannot be read: 'i' begins neither an object nor a list"
TEXT = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
CHAT = {"model_name_or_path": "none", "finetuning_type": "full"}


def tool(name, **types):
    properties = {key: {"type": kind} for key, kind in types.items()}
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": properties}}}


class TestPlugin(PluginContract):
    plugin = plugin


class TestQwen(ToolParserContract):
    component = "tool-parser:qwen"
    template = "template:qwen3"
    examples = (
        (TEXT, ParsedAnswer(tool_calls=(ToolCall("f", {"a": 1}),))),
        (f"<think>\nHm.\n</think>\n\nI look.\n{TEXT}", ParsedAnswer("I look.", "Hm.", (ToolCall("f", {"a": 1}),))),
        ("<tool_call>it</tool_call>", ParsedAnswer("<tool_call>it</tool_call>", problems=(NO_JSON,))),
    )


class TestGlm(ToolParserContract):
    component = "tool-parser:glm4_moe"
    template = "template:glm4_moe"
    tools = (tool("f", a="string", b="integer"),)
    examples = (
        (
            "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n<arg_key>b</arg_key>\n"
            "<arg_value>2</arg_value>\n</tool_call>\n<tool_call>f</tool_call>",
            ParsedAnswer(tool_calls=(ToolCall("f", {"a": "1", "b": 2}), ToolCall("f", {}))),
        ),
    )


class TestLfm(ToolParserContract):
    component = "tool-parser:lfm2"
    template = "template:lfm2"
    examples = (
        (
            "<|tool_call_start|>[f(a='x, y)', b={\"c\": null}), g()]<|tool_call_end|>Wait.",
            ParsedAnswer("Wait.", tool_calls=(ToolCall("f", {"a": "x, y)", "b": {"c": None}}), ToolCall("g", {}))),
        ),
    )


class TestGemma(ToolParserContract):
    component = "tool-parser:gemma4"
    template = "template:gemma4"
    examples = (
        (
            '<|channel>thought\nHm.\n<channel|><|tool_call>call:f{a:<|"|>x:}<|"|>,b:[1,{c:true}]}<tool_call|>',
            ParsedAnswer(reasoning="Hm.", tool_calls=(ToolCall("f", {"a": "x:}", "b": [1, {"c": True}]}),)),
        ),
    )


class TestHarmony(ToolParserContract):
    component = "tool-parser:harmony"
    template = "template:gpt_oss"
    examples = (
        (
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant to=functions.f<|channel|>commentary json"
            '<|message|>{"a": 1}<|call|>',
            ParsedAnswer(reasoning="Hm.", tool_calls=(ToolCall("f", {"a": 1}),)),
        ),
        ("<|channel|>final<|message|>Done.<|return|>", ParsedAnswer("Done.")),
    )


class TestLlama(ToolParserContract):
    component = "tool-parser:llama3"
    template = "template:llama3"
    examples = (
        (
            '{"name": "f", "parameters": {"a": 1}}; {"name": "g", "parameters": {}}',
            ParsedAnswer(tool_calls=(ToolCall("f", {"a": 1}), ToolCall("g", {}))),
        ),
        (
            "<|python_tag|>print(1)",
            ParsedAnswer("<|python_tag|>print(1)", problems=("no call follows '<|python_tag|>'",)),
        ),
    )


def parser(ftk_run, tokenizer=None, **keys):
    """What a chat with these keys would read answers with."""
    template = f"template:{keys.get('template', 'auto')}"
    kind = f"tool-parser:{keys.get('tool_format', 'auto')}"
    run = ftk_run(keys, components=[template, kind], action="chat")
    return run.tool_parser(run.load_template(tokenizer or tiny_tokenizer(HERMES)))


def test_each_format_is_a_component_with_a_summary():
    assert set(SUMMARIES) == set(NAMES)
    assert all(c.summary for c in plugin.ftk_components())


def test_chat_takes_the_parser_of_its_template_and_training_takes_none():
    assert "tool-parser:auto" in make_plan({**CHAT, "template": "qwen3"}, action="chat")
    assert "tool-parser:*" not in make_plan({**CHAT, "template": "qwen3", "stage": "sft", "dataset": "x"})


def test_tool_format_names_one_and_a_wrong_name_is_explained():
    plan = make_plan({**CHAT, "tool_format": "hermes"}, action="chat")
    assert [c.id for c in plan.of_kind("tool-parser")] == ["tool-parser:hermes"]
    with pytest.raises(ConfigError, match="did you mean 'hermes'"):
        make_plan({**CHAT, "tool_format": "hermess"}, action="chat")


def test_a_template_of_the_packs_names_its_parser(ftk_run):
    read = parser(ftk_run, template="qwen3").parse(f"<think>\nHm.\n</think>\n\n{TEXT}")
    assert (read.reasoning, read.tool_calls) == ("Hm.", (ToolCall("f", {"a": 1}),))
    assert parser(ftk_run, template="smollm2") is None


def test_the_parser_of_an_unknown_template_is_found_by_trial(ftk_run):
    assert parser(ftk_run).parse(TEXT).tool_calls == (ToolCall("f", {"a": 1}),)
    assert parser(ftk_run, tiny_tokenizer()) is None
    assert parser(ftk_run, tiny_tokenizer(HERMES), tool_format="qwen").parse(TEXT).tool_calls


def test_a_parser_that_does_not_read_what_the_template_writes_is_refused(ftk_run):
    with pytest.raises(RunError, match="tool_format='lfm2' does not read the tool calls"):
        parser(ftk_run, tool_format="lfm2")
    with pytest.raises(RunError, match="tool_format='qwen' does not read"):
        parser(ftk_run, tiny_tokenizer(XML), tool_format="qwen")


VENDORS = {
    "gemma4.jinja": "gemma4",
    "glm4moe.jinja": "glm4_moe",
    "gptoss.jinja": "harmony",
    "lfm2_2_5.jinja": "lfm2",
    "llama3_2.jinja": "llama3",
    "nemotron_3_nano.jinja": "qwen3_5",
    "qwen2_5.jinja": "qwen",
    "qwen3_8.jinja": "qwen3_5",
    "qwen3_instruct_2507.jinja": "qwen",
}


@pytest.mark.parametrize("file", VENDORS)
def test_templates_of_vendors_get_the_parser_of_their_family(file):
    folder = Path(pytest.importorskip("trl").__file__).parent / "chat_templates"
    if not (folder / file).exists():
        pytest.skip(f"this trl has no {file}")
    facts = Facts(name="auto", chat_template=(folder / file).read_text(encoding="utf-8"))
    run = make_run({}, components=["tool-parser:auto"], action="chat")
    parser = run.tool_parser(ChatTemplate(facts, tokenizer_for(facts)))
    assert isinstance(parser, Harmony) if VENDORS[file] == "harmony" else parser.format == FORMATS[VENDORS[file]]


class Shouting(ToolParser):
    """Of a stranger: a call is a line in capital letters."""

    @hookimpl
    def ftk_tool_parser(self, run, template):
        return self

    def stream(self, *, tools=(), prompt=""):
        return ShoutingReader()


class ShoutingReader(AnswerReader):
    def __init__(self):
        self.text = ""

    def feed(self, piece):
        self.text += piece
        return []

    def close(self):
        return [Delta(call=ToolCall(self.text.lower(), {}))] if self.text.isupper() else [Delta(content=self.text)]


def test_a_stranger_adds_a_parser_with_a_component_and_nothing_else(ftk_run):
    strangers = installed_with(fake("shouting", offers={"tool-parser:shouting": Shouting}))
    keys = {**CHAT, "tool_format": "shouting"}
    assert "tool-parser:shouting" in make_plan(keys, action="chat", plugins=strangers)
    run = ftk_run({}, components=["tool-parser:shouting"], action="chat", plugins=strangers)
    assert run.tool_parser(None).parse("STOP").tool_calls == (ToolCall("stop", {}),)
    assert run.tool_parser(None).parse("Stop").content == "Stop"


def test_a_template_that_writes_ids_in_place_of_names_is_recognised():
    jinja = (
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% for c in m.tool_calls %}<|tool_call_begin|>{{ c.id }}"
        "<|tool_call_argument_begin|>{{ c.function.arguments | tojson }}<|tool_call_end|>{% endfor %}{% endfor %}"
        "{{ '<|assistant|>' if add_generation_prompt }}"
    )
    facts = Facts(name="auto", chat_template=jinja)
    run = make_run({}, components=["tool-parser:auto"], action="chat")
    assert run.tool_parser(ChatTemplate(facts, tokenizer_for(facts))).format == FORMATS["kimi_k2"]
