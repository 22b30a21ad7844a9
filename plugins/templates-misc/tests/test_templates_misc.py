"""The pack: the contract of packs, golden files, and vendors' own templates where they are at hand."""

from pathlib import Path

import pytest

import ft_plugin_templates_misc.plugin as plugin
from ft_plugin_templates.battery import BATTERY
from ft_plugin_templates.contract import CHECKS, check_golden, check_masks, tokenizer_for
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.originals import count_alike, find_originals
from ft_plugin_templates.pack import names, read
from ftk_sdk.contracts import PluginContract

PACKAGE = plugin.__package__

# template, original, in what it is one, conversations of the battery that both write alike
ORIGINALS = [
    # llama.cpp's tests: Ling-lite
    (
        "bailing",
        "194900ce7bc7190dbe359ba6f83d54656bc3be8780abaa97a1d01bf1a9c5489c",
        dict(after="</s>", without=["turns"]),
        12,
    ),
    # inclusionAI/Ling-V2: resource/tokenizer/config_sft
    ("bailing_v2", "a503d55b21709d881b07ee2e9d8ce29505fa95d9f758379a9fc4ccc94272734a", dict(), 26),
    # trl 1.16 cohere.jinja
    ("cohere", "90c33aee14aa2a226127516d48ee9184c9b90745d4a04c484621ec2e82fb712c", dict(), 13),
    # ollama-utils 0.0.18: command-r:35b
    ("cohere", "6269c0952a633ea8ec6ac9e7cc28e7af15295b0819fd7c09fab3f0e6a392c7e1", dict(), 13),
    # ollama-utils 0.0.18: command-r-plus:104b
    ("cohere", "469770c7e90472c46cfbd24a081f81e8bc4d99add8e47bc6f61bf44e9cceba88", dict(), 13),
    # ollama-utils 0.0.18: aya:35b
    ("cohere", "9db2cf47ce03bfd0aab6ec59942503714fa0372f09f7e1d54cbcd71a1110b863", dict(), 13),
    # ollama-utils 0.0.18: dbrx:132b
    ("dbrx", "faf1f8b675beeabd4ddbb89b93bb03f94f097b3bb1ff5dfa8e99e70674a9cdbb", dict(), 16),
    # ollama-utils 0.0.18: exaone3.5:7.8b
    ("exaone", "627e212836e41c6231988b4ae595a16ddfd7814d2c39fd7bf3105651f8bbeebd", dict(), 16),
    # axolotl's templates: falcon_h1
    ("falcon_h1", "b77006662339e0827ad3c9e6b15f4bc69fda334777660b252fa733c0b1779852", dict(without=["tools"]), 15),
    # trl 1.16 gptoss.jinja
    (
        "gpt_oss",
        "a4c9919cbbd4acdd51ccffe22da049264b1b73e59055fa58811a99efbd7c8146",
        dict(current_date="2024-07-26", without=["tool with thoughts", "empty thought"]),
        21,
    ),
    # the same
    (
        "gpt_oss",
        "a4c9919cbbd4acdd51ccffe22da049264b1b73e59055fa58811a99efbd7c8146",
        dict(current_date="2024-07-26", whole=False),
        23,
    ),
    # trl 1.16 lfm2_2_5_v2.jinja
    (
        "lfm2",
        "c5b67247c9f736f6c40eaa91ae1ef27dc67f5b041eedaadb97a1bea5030fb0ff",
        dict(without=["difficult arguments"]),
        25,
    ),
    # llama.cpp: LFM2.5-Instruct
    ("lfm2", "f05bf4b967dc993bdc7a2fe6e43759ee218eb0eb340d68b063e1c4f8ad148176", dict(), 16),
    # trl 1.16 lfm2_2_5_vl.jinja
    ("lfm2_vl", "86f4770449a4797c9b4212d110b0cc70fb993c1ce960095bcfb12eea22f61cca", dict(), 26),
    # llama.cpp: MiniMax-M1
    ("minimax1", "e1790d8fbe1c587e6fc385e2a712363f86faf52ae1fb1fcbfc5ded3eb1fae70a", dict(), 21),
    # llama.cpp: MiniMax-M2
    (
        "minimax2",
        "967ff7e387676f4b4340585da0585416532f1e6c5ee3f1ede64b2c21ef7ea001",
        dict(default_system="You are a helpful assistant.", whole=False, without=["empty system"]),
        24,
    ),
    # Xinference's list of models: moonlight-16b-a3b-instruct
    ("moonlight", "0af7f5845651f3ba85a82d70d8af968a1da0a60f4c7bb662a9c305cfc9cc224c", dict(), 16),
    # imoneoi/openchat: ochat/config, openchat_v3.2_mistral
    ("openchat", "b5bbad80794cfae43a2d83035a4c3d770916052b666b3aac8840ce28eb97e86d", dict(), 15),
    # imoneoi/openchat: ochat/config, openchat_3.6
    ("openchat-3.6", "2e2a1fc91d942edd0883b788adfaa3fc179fbddd1e28b1bc11d56f00db2f43ce", dict(), 15),
    # ollama-utils 0.0.18: opencoder:8b
    ("opencoder", "780f7a8495e4133184c1cbc45ae58866c8b9c5a2d1c73bb6c52b412421452cd8", dict(), 16),
    # llama.cpp: ByteDance-Seed-OSS
    (
        "seed_oss",
        "3f9e0dc4adeb8032287d0129dc75b6298fee8698a52ab41e863dbc89929330d3",
        dict(without=["empty answer"]),
        25,
    ),
    # the same
    (
        "seed_oss",
        "3f9e0dc4adeb8032287d0129dc75b6298fee8698a52ab41e863dbc89929330d3",
        dict(thinking_budget=0, whole=False),
        26,
    ),
    # tests of @huggingface/jinja: SOLAR-10.7B-Instruct-v1.0
    (
        "solar",
        "b8e5e922a7a4ab5df61a904ef54639a27022fd84eb6b6434f09503afeca60eb4",
        dict(before="<s>", after="</s>", without=["turns"]),
        12,
    ),
    # Xinference's list of models: Yi-chat
    ("yi", "58c1a1f04baa7adaeaba1f90267c3d57d9396f0c1f0129bdde9e76d3c6784af7", dict(), 16),
]


class TestPlugin(PluginContract):
    plugin = plugin


@pytest.mark.parametrize("name", names(PACKAGE))
def test_a_template_renders_what_its_golden_file_says(name):
    check_golden(PACKAGE, name, Path(__file__).parent / "golden")


@pytest.mark.parametrize("name", names(PACKAGE))
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_template_keeps_the_contract(name, check):
    if name == "gpt_oss" and check is check_masks:
        pytest.skip("earlier answers end with a token that the model must not learn")
    check(PACKAGE, name)


@pytest.mark.parametrize(("name", "digest", "options", "number"), ORIGINALS)
def test_a_template_writes_what_the_original_writes(name, digest, options, number):
    if digest not in find_originals():
        pytest.skip("the original is not at hand")
    assert count_alike(PACKAGE, name, find_originals()[digest], **options) == number


def test_what_a_file_calls_an_original_is_compared_with():
    compared = {(name, digest) for name, digest, *_ in ORIGINALS}
    assert {(name, digest) for name in names(PACKAGE) for digest in read(PACKAGE, name).originals} <= compared


def test_gpt_oss_learns_to_end_an_answer_with_return_and_a_call_with_call():
    facts = read(PACKAGE, "gpt_oss")
    tokenizer = tokenizer_for(facts)
    template = ChatTemplate(facts, tokenizer)

    def trained(title):
        (row,) = template.encode([BATTERY[title]])
        runs = [""]
        for token, weight in zip(row.input_ids, row.weights, strict=True):
            runs = [*runs[:-1], runs[-1] + tokenizer.decode([token])] if weight else [*runs, ""]
        return [run for run in runs if run]

    assert trained("two turns") == [
        "<|channel|>final<|message|>First.",
        "<|channel|>final<|message|>Second.<|return|>",
    ]
    assert trained("tool with thoughts") == [
        "<|channel|>analysis<|message|>I should look it up<|end|><|start|>assistant"
        ' to=functions.get-weather<|channel|>commentary json<|message|>{"city": "Oslo", "days": 2}<|call|>',
        "<|channel|>analysis<|message|>That is cold<|end|><|start|>assistant"
        "<|channel|>final<|message|>It is freezing.<|return|>",
    ]


def test_gpt_oss_writes_the_schemas_of_tools_as_typescript():
    facts = read(PACKAGE, "gpt_oss")
    properties = {
        "way": {"type": "string", "enum": ["x", "y"], "description": "Which way", "default": "x"},
        "numbers": {"type": "array", "items": {"type": "integer"}},
        "things": {"type": "array"},
        "maybe": {"type": ["string", "null"]},
        "inner": {"type": "object", "properties": {"p": {"type": "string", "nullable": True}}, "required": ["p"]},
        "either": {"oneOf": [{"type": "string"}, {"type": "number"}]},
        "anything": {},
    }
    parameters = {"type": "object", "properties": properties, "required": ["way", "inner"]}
    tools = [{"name": "f", "description": "Does", "parameters": parameters}, {"name": "g", "description": "Also"}]
    text = ChatTemplate(facts, tokenizer_for(facts)).render([{"role": "user", "content": "Hi"}], tools=tools)
    assert text.split("namespace functions {\n\n")[1].split("\n\n} // namespace")[0] == (
        "// Does\ntype f = (_: {\n"
        '// Which way\nway: "x" | "y", // default: x,\n'
        "numbers?: number[],\nthings?: any[],\nmaybe?: string | null,\n"
        "inner: {\np: string | null},\neither?: string | number,\nanything?: any,\n}) => any;\n\n"
        "// Also\ntype g = () => any;"
    )
