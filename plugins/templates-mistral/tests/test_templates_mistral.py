"""The pack: the contract of packs, golden files, and vendors' own templates where they are at hand."""

import json
from pathlib import Path

import pytest

import ft_plugin_templates_mistral.plugin as plugin
from ft_plugin_templates.battery import BATTERY
from ft_plugin_templates.contract import CHECKS, check_golden, tokenizer_for
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.originals import count_alike, find_originals
from ft_plugin_templates.pack import names, read
from ftk.problems import RowError
from ftk_sdk.contracts import PluginContract

PACKAGE = plugin.__package__

# template, original, in what it is one, conversations of the battery that both write alike
ORIGINALS = [
    # ollama-utils 0.0.18: mistral-small:24b
    ("mistral_small", "d99c0a28fd4eebd7ba2cc0309651f6d7c5486024989bc42f6bb4cc558d553689", dict(), 14),
    # llama.cpp: Mistral-Small-3.2-24B-Instruct-2506
    (
        "mistral_small",
        "5b8f31f11198696548d544dbe424a3c1ef244d00a475f4e1bffb351fda085608",
        dict(without=["no system", "tools"]),
        4,
    ),
    # llama.cpp: Ministral-3-14B-Reasoning-2512
    ("ministral3", "39f03c383413f531fd302c06c7e982ad98c83f0657a8339ae25478ccb81fdcda", dict(without=["no system"]), 5),
]


class TestPlugin(PluginContract):
    plugin = plugin


@pytest.mark.parametrize("name", names(PACKAGE))
def test_a_template_renders_what_its_golden_file_says(name):
    check_golden(PACKAGE, name, Path(__file__).parent / "golden")


@pytest.mark.parametrize("name", names(PACKAGE))
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_template_keeps_the_contract(name, check):
    check(PACKAGE, name)


@pytest.mark.parametrize(("name", "digest", "options", "number"), ORIGINALS)
def test_a_template_writes_what_the_original_writes(name, digest, options, number):
    if digest not in find_originals():
        pytest.skip("the original is not at hand")
    assert count_alike(PACKAGE, name, find_originals()[digest], **options) == number


def test_what_a_file_calls_an_original_is_compared_with():
    compared = {(name, digest) for name, digest, *_ in ORIGINALS}
    assert {(name, digest) for name in names(PACKAGE) for digest in read(PACKAGE, name).originals} <= compared


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
