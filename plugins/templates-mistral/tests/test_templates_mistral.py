"""The pack keeps the contract of packs, and what is its own."""

import json
from pathlib import Path

import pytest

import ft_plugin_templates_mistral.plugin as plugin
from ft_plugin_templates.battery import BATTERY
from ft_plugin_templates.contract import PackContract, tokenizer_for
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.pack import read
from ftk.problems import RowError
from ftk_sdk.contracts import PluginContract

PACKAGE = plugin.__package__


class TestPlugin(PluginContract):
    plugin = plugin


class TestPack(PackContract):
    plugin = plugin


@pytest.mark.parametrize(
    ("name", "version", "number"),
    [("ministral", "v3", 20), ("pixtral", "v3", 20), ("mistral_small", "v7", 21), ("ministral3", "v13", 21)],
)
def test_prompts_are_those_of_mistral_common(name, version, number, tmp_path):
    pytest.importorskip("mistral_common")
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy

    official, facts, alike = tekken(version, tmp_path), read(PACKAGE, name), 0
    ours = ChatTemplate(facts, tokenizer_for(facts))
    for title, conversation in BATTERY.items():
        # The library takes no dots in names, and ends with what a model is to answer.
        messages, tools = json.loads(json.dumps(conversation).replace("clock.now", "clock_now"))
        messages = messages[:-1] if messages[-1]["role"] == "assistant" else messages
        if title == "late system" or (title == "text beside a call" and version == "v3"):
            continue
        try:
            text = ours.render(messages, tools=tools, generation_prompt=True)
        except RowError:
            continue
        tokens = official.encode_chat_completion(ChatCompletionRequest.from_openai(messages, tools)).tokens
        assert text == official.decode(tokens, special_token_policy=SpecialTokenPolicy.KEEP), title
        alike += 1
    assert alike == number


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
