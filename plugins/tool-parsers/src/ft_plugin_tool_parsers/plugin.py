"""What this plugin offers. Imports nothing heavy."""

from ftk.component import Component
from ftk.markers import hookimpl

SUMMARIES = {
    "command_a": "calls of Command A and R7B: a list between <|START_ACTION|> and <|END_ACTION|>",
    "command_r": "calls of Command R: a list in a block of code after 'Action:'",
    "deepseek3": "calls of DeepSeek V3 and R1: arguments in a block of code",
    "deepseek3_1": "calls of DeepSeek V3.1: a name and JSON between control tokens",
    "default": "lines 'Action:' and 'Action Input:'",
    "gemma4": "calls of Gemma 4: its own notation of values",
    "glm4": "calls of GLM-4: a line with the name, then JSON",
    "glm4_moe": "calls of GLM-4.5 to 4.7: <arg_key> and <arg_value>",
    "granite": "calls of Granite 3: a list after <|tool_call|>",
    "harmony": "the channels of gpt-oss",
    "hermes": "JSON in <tool_call>, the same as 'qwen'",
    "hunyuan": "calls of Hunyuan: a list in <tool_calls>",
    "hy3": "calls of Hy3: <arg_key> and <arg_value> in <tool_calls>",
    "kimi_k2": "calls of Kimi K2: an id and JSON between control tokens",
    "lfm2": "calls of LFM2: Python between control tokens",
    "ling": "JSON in <tool_call>, the same as 'qwen'",
    "llama3": "calls of Llama 3.1 to 4: JSON alone",
    "mimo_v2": "calls of MiMo V2: <function=...> and <parameter=...>",
    "minimax1": "calls of MiniMax M1: lines of JSON in <tool_calls>",
    "minimax2": "calls of MiniMax M2: <invoke> and <parameter>",
    "mistral": "calls of Mistral up to version 11 of its format: a list after [TOOL_CALLS]",
    "mistral_v13": "calls of Mistral from version 11 of its format: [TOOL_CALLS], a name, [ARGS] and JSON",
    "phi4": "calls of Phi-4 Mini: a list after <|tool_call|>",
    "pythonic": "a list of calls of Python functions, and nothing around it",
    "qwen": "calls of Qwen2.5 and Qwen3: JSON in <tool_call>",
    "qwen3_5": "calls of Qwen3.5: <function=...> and <parameter=...>",
    "qwen3_coder": "calls of Qwen3 Coder, the same as 'qwen3_5'",
    "seed_oss": "calls of Seed-OSS: <function=...>, and values as Python writes them",
}


@hookimpl
def ftk_components() -> list[Component]:
    auto = Component(
        kind="tool-parser",
        name="auto",
        target="ft_plugin_tool_parsers.provide:Auto",
        summary="what reads the tool calls of the template",
        default=True,
    )
    named = [
        Component(
            kind="tool-parser",
            name=name,
            target="ft_plugin_tool_parsers.provide:Named",
            summary=summary,
            args={"name": name},
        )
        for name, summary in SUMMARIES.items()
    ]
    return [auto, *named]
