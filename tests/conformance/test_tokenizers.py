"""Token for token against the vendors' own tokenizers and templates."""

from __future__ import annotations

import copy
import hashlib

import pytest

from ft_plugin_templates.battery import BATTERY
from ft_plugin_templates.check import DIFFERS, ONLY_HERE, SAME, compare
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.load import known_original, own_template
from ft_plugin_templates.originals import find_originals, traits
from ft_plugin_templates.pack import read
from ftk.contracts import Tokens

CORE = "ft_plugin_templates"
# package, template, tokenizer, how many conversations are the same, trait of all that are not
OWN = [
    (CORE, "qwen3", "qwen3", 60, None),
    (CORE, "gemma3", "gemma3", 29, None),
    (CORE, "smollm2", "smollm2", 32, None),
    (CORE, "llama3", "llama3_1", 32, "tools"),
    ("ft_plugin_templates_deepseek", "deepseek3", "deepseek_v3", 32, "tools"),
]
# The same with a template of trl on a vendor's tokenizer; what both write alike is on file.
TRL = [
    (CORE, "qwen3", "qwen3", "trl 1.16 qwen3.jinja"),
    (CORE, "qwen", "qwen3", "trl 1.16 qwen2_5.jinja"),
    (CORE, "llama3", "llama3_1", "trl 1.16 llama3_1.jinja"),
    (CORE, "gemma", "gemma3", "trl 1.16 gemma.jinja"),
    ("ft_plugin_templates_qwen", "qwen3_nothink", "qwen3", "trl 1.16 qwen3_instruct_2507.jinja"),
]
STOCK = ["qwen3", "llama3_1", "gemma3", "smollm2", "deepseek_v3"]


@pytest.mark.parametrize(("package", "name", "folder", "number", "but"), OWN)
def test_a_template_gives_the_tokens_of_the_tokenizers_own(load, package, name, folder, number, but):
    tokenizer = load(folder)
    verdicts = compare(ChatTemplate(read(package, name), tokenizer), tokenizer)
    others = [v for v in verdicts if v.outcome == DIFFERS and but not in traits(*BATTERY[v.title])]
    assert not others, f"{others[0].title!r}: {others[0].detail}"
    assert sum(v.outcome == SAME for v in verdicts) == number


@pytest.mark.parametrize(("package", "name", "folder", "source"), TRL)
def test_a_template_gives_the_tokens_of_trls_copy(load, package, name, folder, source):
    facts, tokenizer = read(package, name), copy.deepcopy(load(folder))
    original = next(o for o in facts.originals if o.source == source)
    if original.sha256 not in find_originals():
        pytest.skip("trl is not installed")
    tokenizer.chat_template = find_originals()[original.sha256]
    verdicts = compare(ChatTemplate(facts, tokenizer), tokenizer)
    left_out = {title for title in BATTERY if {title, *traits(*BATTERY[title])} & set(original.without)}
    same = [v.title for v in verdicts if v.outcome == SAME and v.title not in left_out]
    others = [v for v in verdicts if v.outcome == DIFFERS and v.title not in left_out]
    assert len(same) == original.alike, (others[:1], [v for v in verdicts if v.outcome == ONLY_HERE][:1])


@pytest.mark.parametrize("folder", STOCK)
def test_auto_knows_a_vendors_template_and_trains_its_answers(load, folder):
    tokenizer = load(folder)
    facts, known = own_template(tokenizer)
    assert known is not None
    template = ChatTemplate(facts, tokenizer, marks=known)
    assert template.jinja == tokenizer.chat_template
    conversations = [c for c in BATTERY.values() if c[0][-1]["role"] == "assistant"]
    rows = template.encode(conversations)
    named = ChatTemplate(known, tokenizer).encode(conversations)
    trained = [(ours, theirs) for ours, theirs in zip(rows, named, strict=True) if isinstance(ours, Tokens)]
    assert len(trained) >= 28
    for ours, theirs in trained:
        if isinstance(theirs, Tokens) and ours.input_ids == theirs.input_ids:
            assert ours.weights == theirs.weights


@pytest.mark.parametrize("folder", STOCK)
def test_the_hash_of_a_vendors_template_is_on_file(load, folder):
    digest = hashlib.sha256(load(folder).chat_template.encode()).hexdigest()
    assert digest in [o.sha256 for o in known_original(load(folder).chat_template).originals]


@pytest.mark.parametrize("folder", [*STOCK, "mistral"])
def test_one_pass_gives_the_same_tokens_as_plain_text_piece_by_piece(load, folder):
    """Control tokens in user text: equal to what transformers' own sanitiser makes of it."""
    tokenizer = load(folder)
    facts = read(CORE, "mistral") if folder == "mistral" else own_template(tokenizer)[1]
    ours = ChatTemplate(facts, tokenizer)
    for literal in [*facts.stop, tokenizer.eos_token, tokenizer.convert_ids_to_tokens(0)]:
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


def test_a_thought_is_refused_to_qwen3_as_the_original_does(load):
    tokenizer, messages = load("qwen3"), [{"role": "user", "content": "Hi"}]
    ours = ChatTemplate(read(CORE, "qwen3"), tokenizer, variables={"enable_thinking": False})
    theirs = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, enable_thinking=False, return_dict=False
    )
    assert ours.encode_prompt(messages) == theirs
