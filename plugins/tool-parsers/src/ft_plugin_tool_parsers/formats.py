"""The formats that this plugin knows: a grammar, and the marks around its calls.

Sources are the chat templates that vendors ship with their models, and the documents that they name below.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ftk.contracts import ToolParser

from .answer import Format, FormatParser
from .gemma_calls import GemmaCalls
from .harmony import Harmony
from .json_calls import BareJson, JsonCalls, NamedJson
from .python_calls import PythonCalls
from .xml_calls import XmlCalls

_CALLS = "<\uff5ctool\u2581calls\u2581begin\uff5c>"
_CALLS_END = "<\uff5ctool\u2581calls\u2581end\uff5c>"
_CALL = "<\uff5ctool\u2581call\u2581begin\uff5c>"
_CALL_END = "<\uff5ctool\u2581call\u2581end\uff5c>"
_SEP = "<\uff5ctool\u2581sep\uff5c>"

_JSON_IN_TAGS = Format(JsonCalls(("<tool_call>",), "</tool_call>"))
_QWEN_XML = XmlCalls(
    openers=("<function=",),
    name_end=">",
    parameter="<parameter=",
    key_end=">",
    value_end="</parameter>",
    padding="\n",
    closer="</function>",
)
_GLM_XML = XmlCalls(
    openers=("<tool_call>",),
    parameter="<arg_key>",
    key_end="</arg_key>",
    value="<arg_value>",
    value_end="</arg_value>",
    closer="</tool_call>",
)


def _in_tags(xml: XmlCalls, section: str, **changes: Any) -> Format:
    return Format(replace(xml, **changes), sections={f"<{section}>": f"</{section}>"})


FORMATS: dict[str, Format] = {
    # JSON between marks.
    "qwen": _JSON_IN_TAGS,
    "hermes": _JSON_IN_TAGS,
    "ling": _JSON_IN_TAGS,
    "minimax1": Format(JsonCalls(("<tool_calls>",), "</tool_calls>")),
    "hunyuan": Format(
        JsonCalls(("<tool_calls>",), "</tool_calls>"), dropped=("<answer>", "</answer>"), begins=("\u52a9\u624b\uff1a",)
    ),
    "granite": Format(JsonCalls(("<|tool_call|>", "<tool_call>"))),
    "phi4": Format(JsonCalls(("<|tool_call|>", "functools")), dropped=("<|/tool_call|>",)),
    "mistral": Format(JsonCalls(("[TOOL_CALLS]",)), thought=("[THINK]", "[/THINK]")),
    "command_r": Format(JsonCalls(("Action: ```json", "Action:```json"), "```")),
    "command_a": Format(
        JsonCalls(("<|START_ACTION|>",), "<|END_ACTION|>"),
        dropped=("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"),
        thought=("<|START_THINKING|>", "<|END_THINKING|>"),
    ),
    # JSON alone.
    "llama3": Format(
        BareJson(), sections={"<|python_tag|>": ""}, dropped=("<|python_start|>",), anew=("<|python_end|>",)
    ),
    # A name, and its arguments as JSON.
    "default": Format(NamedJson(("Action:",), separator="Action Input:")),
    "mistral_v13": Format(
        NamedJson(("[TOOL_CALLS]",), separator="[ARGS]", head=r"(?P<name>.+?)(\[CALL_ID\](?P<id>.+))?"),
        thought=("[THINK]", "[/THINK]"),
    ),
    "deepseek3": Format(
        NamedJson((f"{_CALL}function{_SEP}",), separator="\n```json\n", closer=f"```{_CALL_END}"),
        sections={_CALLS: _CALLS_END},
    ),
    "deepseek3_1": Format(NamedJson((_CALL,), separator=_SEP, closer=_CALL_END), sections={_CALLS: _CALLS_END}),
    "kimi_k2": Format(
        NamedJson(
            ("<|tool_call_begin|>",),
            separator="<|tool_call_argument_begin|>",
            closer="<|tool_call_end|>",
            head=r"(?P<id>(?:functions\.)?(?P<name>.+?):\d+)",
        ),
        sections={"<|tool_calls_section_begin|>": "<|tool_calls_section_end|>"},
    ),
    "glm4": Format(NamedJson((), separator="\n"), anew=("<|assistant|>",)),
    # Every argument between marks.
    "qwen3_5": _in_tags(_QWEN_XML, "tool_call"),
    "qwen3_coder": _in_tags(_QWEN_XML, "tool_call"),
    "mimo_v2": _in_tags(_QWEN_XML, "tool_call", padding=""),
    "seed_oss": _in_tags(_QWEN_XML, "seed:tool_call", padding=""),
    "minimax2": _in_tags(
        XmlCalls(
            openers=('<invoke name="',),
            name_end='">',
            parameter='<parameter name="',
            key_end='">',
            value_end="</parameter>",
            closer="</invoke>",
        ),
        "minimax:tool_call",
    ),
    "glm4_moe": Format(_GLM_XML),
    "hy3": _in_tags(_GLM_XML, "tool_calls", name_end="<tool_sep>"),
    # Calls of functions.
    "lfm2": Format(PythonCalls(("<|tool_call_start|>",), "<|tool_call_end|>")),
    "pythonic": Format(PythonCalls(), dropped=("<|python_start|>", "<|python_end|>")),
    "gemma4": Format(GemmaCalls()),
}


def parser_of(name: str, thought: tuple[str, str] | None = None) -> ToolParser:
    """The parser of a format, with the marks around thoughts where a template has its own. Raises KeyError."""
    return Harmony() if name == "harmony" else FormatParser(FORMATS[name], thought)


NAMES = (*FORMATS, "harmony")
