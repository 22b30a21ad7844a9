"""Token for token against the vendors' own libraries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ft_plugin_templates.battery import BATTERY
from ft_plugin_templates.contract import tokenizer_for
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.originals import traits
from ft_plugin_templates.pack import read
from ftk.problems import RowError


def prompts(template, *, names=lambda text: text):
    """Title, messages, tools and our token ids of each conversation that a model is to continue and ours can render.

    Without control tokens that are spelled out: ours are text of their own, and the libraries join them to their
    neighbours. What ours are is compared in ``test_tokenizers``.
    """
    for title, conversation in BATTERY.items():
        if title.startswith("control tokens"):
            continue
        messages, tools = json.loads(names(json.dumps(conversation)))
        messages = messages[:-1] if messages[-1]["role"] == "assistant" else messages
        try:
            yield title, messages, tools, template.encode_prompt(messages, tools=tools)
        except RowError:
            continue


def without_dots(text):
    return text.replace("clock.now", "clock_now")  # mistral-common takes none in names


def test_mistral_gives_the_tokens_of_mistral_common(load):
    pytest.importorskip("mistral_common")
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    official, facts = MistralTokenizer.v3(), read("ft_plugin_templates", "mistral")
    ours = ChatTemplate(facts, load("mistral"))
    compared = 0
    for title, messages, tools, prompt in prompts(ours, names=without_dots):
        if "beside a call" in title:
            continue  # text beside a call: both refuse to train on it; ours lets it stand in a prompt
        request = ChatCompletionRequest.from_openai(messages, tools)
        assert prompt == official.encode_chat_completion(request).tokens, title
        compared += 1
    assert compared == facts.libraries["mistral-common"]


@pytest.mark.parametrize(
    ("name", "version"), [("ministral", "v3"), ("pixtral", "v3"), ("mistral_small", "v7"), ("ministral3", "v13")]
)
def test_newer_models_of_mistral_are_prompted_as_mistral_common_does(name, version, tmp_path):
    pytest.importorskip("mistral_common")
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy

    official, facts, alike = tekken(version, tmp_path), read("ft_plugin_templates_mistral", name), 0
    ours = ChatTemplate(facts, tokenizer := tokenizer_for(facts))
    for title, messages, tools, prompt in prompts(ours, names=without_dots):
        if title == "late system" or ("beside a call" in title and version == "v3"):
            continue
        tokens = official.encode_chat_completion(ChatCompletionRequest.from_openai(messages, tools)).tokens
        assert tokenizer.decode(prompt) == official.decode(tokens, special_token_policy=SpecialTokenPolicy.KEEP), title
        alike += 1
    assert alike == facts.libraries["mistral-common"]


def tekken(version, folder):
    """The library's tokenizer of a version: it ships the vocabulary of version 3, which the later ones share."""
    import mistral_common
    from mistral_common.tokens.tokenizers.base import SpecialTokens
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    data = json.loads((Path(mistral_common.__file__).parent / "data" / "tekken_240718.json").read_text("utf-8"))
    data["config"]["version"] = version
    if version == "v13":
        control = enumerate(SpecialTokens)
        data["special_tokens"] = [{"rank": i, "token_str": t.value, "is_control": True} for i, t in control]
    path = folder / "tekken.json"
    path.write_text(json.dumps(data))
    return MistralTokenizer.from_file(str(path))


def test_llama3_gives_the_tokens_of_llama_models(load):
    pytest.importorskip("llama_models")
    from llama_models.datatypes import RawMessage, StopReason
    from llama_models.llama3.chat_format import ChatFormat
    from llama_models.llama3.tokenizer import Tokenizer

    official, facts = ChatFormat(Tokenizer.get_instance()), read("ft_plugin_templates", "llama3")
    ours = ChatTemplate(facts, load("llama3_1"))
    compared = 0
    for title, messages, tools, prompt in prompts(ours):
        if "tools" in traits(messages, tools):
            continue  # the library leaves schemas to its callers
        # It leaves trimming to them, too, as the vendor's template does it.
        turns = [
            RawMessage(role=m["role"], content=m["content"].strip(), stop_reason=StopReason.end_of_turn)
            if m["role"] == "assistant"
            else RawMessage(role=m["role"], content=m["content"].strip())
            for m in messages
        ]
        assert prompt == official.encode_dialog_prompt(turns).tokens, title
        compared += 1
    assert compared == facts.libraries["llama-models"]


def test_gpt_oss_is_prompted_as_openai_harmony_does(load, conformance_dir, monkeypatch):
    harmony = pytest.importorskip("openai_harmony")
    monkeypatch.setenv("TIKTOKEN_ENCODINGS_BASE", str(conformance_dir))
    official = harmony.load_harmony_encoding(harmony.HarmonyEncodingName.HARMONY_GPT_OSS)
    tokenizer, facts = load("gptoss"), read("ft_plugin_templates_misc", "gpt_oss")
    ours = ChatTemplate(facts, tokenizer)
    compared = 0
    for title, messages, tools, prompt in prompts(ours):
        if {"tools", "system"} & traits(messages, tools):
            continue  # the vendor's template ends instructions with newlines, and writes schemas and results otherwise
        turns = [harmony.Message.from_role_and_content(harmony.Role.SYSTEM, harmony.SystemContent.new())]
        for message in messages:
            turns.append(as_harmony(harmony, message))
        conversation = harmony.Conversation.from_messages(turns)
        theirs = official.render_conversation_for_completion(conversation, harmony.Role.ASSISTANT)
        assert tokenizer.decode(prompt) == official.decode(theirs), title
        assert prompt == theirs, title
        compared += 1
    assert compared == facts.libraries["openai-harmony"]


def as_harmony(harmony, message):
    if message["role"] == "system":
        content = harmony.DeveloperContent.new().with_instructions(message["content"])
        return harmony.Message.from_role_and_content(harmony.Role.DEVELOPER, content)
    if message["role"] == "user":
        return harmony.Message.from_role_and_content(harmony.Role.USER, message["content"])
    return harmony.Message.from_role_and_content(harmony.Role.ASSISTANT, message["content"]).with_channel("final")
