"""Token for token against the vendors' own tokenizers and templates, where they are at hand (README.md says how)."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from pathlib import Path

import pytest

from ft_plugin_templates.battery import BATTERY
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.pack import read
from ftk.problems import RowError

FOLDER = Path(os.environ.get("FTK_CONFORMANCE_DIR", "/nonexistent"))
OWN = ""
"""The template that comes with the tokenizer."""

# template, folder of the tokenizer, file of trl with the original, conversations that it is an original for, how many of
# these both render
ORIGINALS = [
    ("qwen3", "qwen3", OWN, "all", 26),
    ("qwen3", "qwen3", "qwen3", "all", 26),
    ("qwen", "qwen3", "qwen2_5", "all", 23),
    ("llama3", "llama3_1", OWN, "no tools", 16),
    ("llama3", "llama3_1", "llama3", "no tools", 16),
    ("llama3", "llama3_1", "llama3_1", "tools", 5),
    ("gemma", "gemma3", OWN, "all", 13),
    ("gemma", "gemma3", "gemma", "no system", 9),
    ("smollm2", "smollm2", OWN, "all", 16),
]


def original(folder, trl_file):
    transformers = pytest.importorskip("transformers")
    if not (FOLDER / folder / "tokenizer.json").exists():
        pytest.skip("FTK_CONFORMANCE_DIR has no such tokenizer")
    tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER / folder)
    if trl_file:
        if (spec := importlib.util.find_spec("trl")) is None:
            pytest.skip("trl is not installed")
        path = Path(spec.origin).parent / "chat_templates" / f"{trl_file}.jinja"
        tokenizer.chat_template = path.read_text(encoding="utf-8")
    return tokenizer


def belongs(title, kind):
    messages, tools = BATTERY[title]
    has_tools = bool(tools) or any(m["role"] == "tool" or "tool_calls" in m for m in messages)
    has_system = any(m["role"] == "system" for m in messages)
    return {"all": True, "tools": has_tools, "no tools": not has_tools, "no system": not has_system}[kind]


def prompt_of(messages):
    return messages[:-1] if messages[-1]["role"] == "assistant" and len(messages) > 1 else messages


@pytest.mark.parametrize(("name", "folder", "trl_file", "kind", "number"), ORIGINALS)
def test_a_template_gives_the_tokens_of_the_original(name, folder, trl_file, kind, number):
    tokenizer = original(folder, trl_file)
    ours = ChatTemplate(read("ft_plugin_templates", name), tokenizer)
    compared = 0
    for title, (messages, tools) in BATTERY.items():
        if not belongs(title, kind):
            continue
        try:
            text = ours.render(messages, tools=tools)
            prompt = ours.encode_prompt(prompt_of(messages), tools=tools)
            ours.weighted(messages, tools, "last")
        except RowError as e:
            if "cannot render" in str(e):
                with pytest.raises(Exception):  # noqa: B017 whatever the original raises
                    tokenizer.apply_chat_template(messages, tools=tools or None)
            continue
        whole = tokenizer.apply_chat_template(messages, tools=tools or None, return_dict=False)
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == whole, title
        asked = tokenizer.apply_chat_template(
            prompt_of(messages), tools=tools or None, add_generation_prompt=True, return_dict=False
        )
        assert prompt == asked, title
        compared += 1
    assert compared == number


def test_a_thought_is_refused_to_qwen3_as_the_original_does():
    tokenizer = original("qwen3", OWN)
    ours = ChatTemplate(read("ft_plugin_templates", "qwen3"), tokenizer, variables={"enable_thinking": False})
    messages = [{"role": "user", "content": "Hi"}]
    theirs = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, enable_thinking=False, return_dict=False
    )
    assert ours.encode_prompt(messages) == theirs


@pytest.mark.parametrize(("name", "folder", "trl_file"), [row[:3] for row in ORIGINALS if row[3] != "tools"])
def test_the_hash_of_an_original_is_on_file(name, folder, trl_file):
    text = original(folder, trl_file).chat_template
    assert hashlib.sha256(text.encode()).hexdigest() in [o.sha256 for o in read("ft_plugin_templates", name).originals]


@pytest.mark.parametrize("folder", ["smollm2", "qwen3", "llama3_1", "gemma3", "mistral"])
def test_one_pass_gives_the_same_tokens_as_plain_text_piece_by_piece(folder):
    """Control tokens in user text: equal to what transformers' own sanitiser makes of it."""
    tokenizer = original(folder, OWN)
    template = {"smollm2": "smollm2", "llama3_1": "llama3", "gemma3": "gemma"}.get(folder, folder)
    ours = ChatTemplate(read("ft_plugin_templates", template), tokenizer)
    for literal in [*ours.stop, tokenizer.eos_token, tokenizer.convert_ids_to_tokens(0)]:
        messages = [{"role": "user", "content": f"What is {literal} for, {literal}{literal}?"}]
        theirs = tokenizer.apply_chat_template(
            messages,
            add_generation_prompt=True,
            chat_template=ours.jinja,
            sanitize_control_tokens=True,
            return_dict=False,
        )
        assert ours.encode_prompt(messages) == theirs, literal
        assert literal in tokenizer.decode(theirs)


def test_mistral_gives_the_tokens_of_mistral_common():
    pytest.importorskip("mistral_common")
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    tokenizer, official = original("mistral", OWN), MistralTokenizer.v3()
    ours = ChatTemplate(read("ft_plugin_templates", "mistral"), tokenizer)
    compared = 0
    for title, conversation in BATTERY.items():
        # The official library takes no dots in names.
        messages, tools = json.loads(json.dumps(conversation).replace("clock.now", "clock_now"))
        messages = prompt_of(messages)
        try:
            prompt = ours.encode_prompt(messages, tools=tools)
        except RowError:
            continue
        if title == "text beside a call":  # both refuse to train on it; ours lets it stand in a prompt
            continue
        request = ChatCompletionRequest.from_openai(messages, tools)
        assert prompt == official.encode_chat_completion(request).tokens, title
        compared += 1
    assert compared == 20
