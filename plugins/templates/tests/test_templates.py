"""The plugin, and how a run gets its template."""

import hashlib
import re
import sys
from dataclasses import replace

import pytest

import ft_plugin_templates.plugin as plugin
from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.load import known_original
from ft_plugin_templates.pack import Facts, names, read, template_components
from ftk.catalog import load_catalog
from ftk.discover import Installed, Plugin
from ftk.keys import KeyIndex
from ftk.problems import ConfigError, RunError
from ftk_sdk.contracts import PluginContract, TemplateContract
from ftk_sdk.testing import make_plan
from ftk_sdk.tiny import CHATML, tiny_tokenizer

PACKAGE = "ft_plugin_templates"
QUESTION = [{"role": "user", "content": "hello"}]
TURN = [*QUESTION, {"role": "assistant", "content": "world"}]


class TestPlugin(PluginContract):
    plugin = plugin


class TestChatml(TemplateContract):
    component = "template:chatml"
    golden = (
        "<|im_start|>system\nYou answer in one word.<|im_end|>\n"
        "<|im_start|>user\nWhat is 2 + 3?<|im_end|>\n<|im_start|>assistant\nFive<|im_end|>\n"
        "<|im_start|>user\nAnd the capital of France?<|im_end|>\n<|im_start|>assistant\nParis<|im_end|>\n"
    )


class TestAuto(TestChatml):
    component = "template:auto"


def load(ftk_run, tokenizer, template="auto", **keys):
    return ftk_run({"template": template, **keys}, components=[f"template:{template}"]).load_template(tokenizer)


def pack(tmp_path, monkeypatch, **files):
    package = tmp_path / "some_pack"
    (package / "templates").mkdir(parents=True)
    (package / "__init__.py").touch()
    for name, text in files.items():
        (package / "templates" / f"{name}.toml").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "some_pack", raising=False)
    return "some_pack"


def test_every_file_is_a_component_and_auto_is_the_default():
    components = plugin.ftk_components()
    assert {c.id for c in components} == {"template:auto", *(f"template:{name}" for name in names(PACKAGE))}
    assert [c.name for c in components if c.default] == ["auto"]


def test_an_alias_is_a_file_too():
    gemma, gemma3 = read(PACKAGE, "gemma"), read(PACKAGE, "gemma3")
    assert (gemma.is_alias, gemma3.is_alias, gemma3.like) == (False, True, "gemma")
    assert replace(gemma3, name="gemma", like="", is_alias=False) == gemma


def test_a_file_may_change_facts_of_another_but_is_not_what_the_other_was_compared_with(tmp_path, monkeypatch):
    good = "chat_template = '''x'''\nstop = ['<e>']\nmedia = {image = 'i'}\n"
    good += "originals = [{ sha256 = 'ab', from = 'there', alike = 3 }]\n"
    package = pack(tmp_path, monkeypatch, good=good, more="like = 'good'\nmedia = {}", again="like = 'some_pack:more'")
    more, again = read(package, "more"), read(package, "again")
    assert (more.chat_template, more.stop, more.media, more.originals) == ("x", ("<e>",), {}, ())
    assert (again.is_alias, again.like, again.media) == (True, "some_pack:more", {})
    assert [o.source for o in read(package, "good").originals] == ["there"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("stop = ['x']", "'chat_template' is missing"),
        ("chat_template = '''x'''\nstpo = []", "unknown key 'stpo'"),
        ("chat_template = '''x'''\nmedia = {smell = 'x'}", "unknown medium 'smell'"),
        ("chat_template = '''x'''\nthought = {open = '<'}", "close"),
        ("chat_template = '''x'''\noriginals = [{ sha256 = 'x' }]", "alike"),
        ("like = 'nobody'", "names no template"),
        ("like = 'no_such_package:x'", "names no template"),
        ("like = 'bad'", "names no template"),
        ("= 3", "line 1"),
    ],
)
def test_a_file_that_breaks_the_rules_is_named(tmp_path, monkeypatch, text, reason):
    package = pack(tmp_path, monkeypatch, good="chat_template = '''x'''", also="like = 'good'", bad=text)
    assert [c.name for c in template_components(package)] == ["also", "bad", "good"]
    with pytest.raises(RunError, match="template 'bad' of some_pack") as error:
        read(package, "bad")
    assert reason in str(error.value)


def test_auto_takes_the_template_of_the_tokenizer(ftk_run):
    template = load(ftk_run, tiny_tokenizer())
    assert template.jinja == CHATML
    assert template.stop == ("<|im_end|>",)
    assert template.render(TURN) == tiny_tokenizer().apply_chat_template(TURN, tokenize=False)


QWEN3 = re.sub(r"\{%- (end)?generation %\}\n?", "", read(PACKAGE, "qwen3").chat_template)
"""As a vendor writes it: earlier turns lose their thoughts, and nothing is marked."""
THOUGHTS = [*QUESTION, {"role": "assistant", "content": "world", "reasoning_content": "greet"}]


def test_auto_finds_the_template_that_was_compared_with_the_tokenizers_own(tmp_path, monkeypatch):
    digest = hashlib.sha256(b"theirs").hexdigest()
    text = f"originals = [{{ sha256 = '{digest}', from = 'x', alike = %d }}]\nchat_template = '''x'''"
    package = pack(tmp_path, monkeypatch, less=text % 3, more=text % 9, other="chat_template = '''x'''")
    row = Plugin("some-pack", "some-pack", "1", module=sys, components=template_components(package))
    monkeypatch.setattr("ft_plugin_templates.load.discover", lambda: Installed([row], KeyIndex(load_catalog())))
    assert known_original("theirs").name == "more"
    assert known_original("another") is None


@pytest.mark.parametrize("keys", [{}, {"default_system": "Sing."}, {"enable_thinking": False}])
def test_auto_writes_what_the_tokenizer_writes_and_trains_what_the_pack_marks(ftk_run, monkeypatch, keys):
    own = load(ftk_run, tiny_tokenizer(QWEN3), **keys)
    (refused,) = own.encode([(THOUGHTS * 2, ())])
    assert "the template rewrites it" in str(refused) or "enable_thinking" in keys
    monkeypatch.setattr("ft_plugin_templates.load.known_original", lambda text: read(PACKAGE, "qwen3"))
    known, named = load(ftk_run, tiny_tokenizer(QWEN3), **keys), load(ftk_run, tiny_tokenizer(), "qwen3", **keys)
    assert (known.name, known.jinja) == ("auto", own.jinja)
    assert known.render(THOUGHTS * 2) == own.render(THOUGHTS * 2)
    assert known.encode([(THOUGHTS * 2, ())]) == named.encode([(THOUGHTS * 2, ())])
    assert len({known.fingerprint, own.fingerprint, named.fingerprint}) == 3


def test_a_date_in_front_of_a_known_template_changes_no_mask(ftk_run, monkeypatch):
    monkeypatch.setattr("ft_plugin_templates.load.known_original", lambda text: read(PACKAGE, "qwen3"))
    dated = load(ftk_run, tiny_tokenizer("{{- 'It is ' + strftime_now('%Y') + '.' }}" + QWEN3))
    plain = load(ftk_run, tiny_tokenizer(QWEN3))
    (with_date,), (without,) = (t.encode([(THOUGHTS * 2, ())]) for t in (dated, plain))
    assert len(with_date.weights) > len(without.weights)
    assert with_date.weights[-len(without.weights) :] == without.weights
    assert not any(with_date.weights[: -len(without.weights)])


def test_where_a_known_template_renders_otherwise_its_marks_are_not_taken(ftk_run, monkeypatch):
    monkeypatch.setattr("ft_plugin_templates.load.known_original", lambda text: read(PACKAGE, "qwen3"))
    other = CHATML.replace("m['content']", "m['content'] + '!'")
    template = load(ftk_run, tiny_tokenizer(other))
    (row,) = template.encode([(TURN * 2, ())])
    assert row == ChatTemplate(Facts(name="own", chat_template=other), tiny_tokenizer()).encode([(TURN * 2, ())])[0]
    (row,) = template.encode([(THOUGHTS, ())])
    assert "no place for reasoning_content" in str(row)


def test_a_tokenizer_without_a_template_fails_only_where_one_is_needed(ftk_run):
    template = load(ftk_run, tiny_tokenizer(chat_template=None))
    assert (template.jinja, template.stop) == ("", ())
    with pytest.raises(RunError, match="no chat template") as error:
        template.encode([(TURN, ())])
    assert "set template to one of chatml, default" in str(error.value)


def test_a_template_that_is_not_the_tokenizers_own_says_so(ftk_run, caplog):
    load(ftk_run, tiny_tokenizer(), "smollm")
    assert not caplog.records
    load(ftk_run, tiny_tokenizer(), "smollm2")
    assert "template 'smollm2' is not the tokenizer's own: token 1" in caplog.text


def test_a_template_whose_end_of_turn_is_no_token_can_chat_but_not_train(ftk_run):
    template = load(ftk_run, tiny_tokenizer(), "gemma")
    assert template.encode_prompt(QUESTION)
    with pytest.raises(RunError, match="would never learn to stop") as error:
        template.encode([(TURN, ())])
    assert "add_special_tokens: '<end_of_turn>', resize_vocab: true" in str(error.value)


@pytest.mark.parametrize(
    ("chat_template", "reason"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "would never learn to stop"),
        ("{{ messages[0].nothing.at_all }}", "the template cannot render it"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("hello", "no token of it carries loss"),
    ],
)
def test_an_own_template_that_cannot_train_is_refused(ftk_run, chat_template, reason):
    template = load(ftk_run, tiny_tokenizer(chat_template))
    with pytest.raises(RunError, match=reason):
        template.encode([(TURN, ())])


def test_two_bos_tokens_are_refused(ftk_run):
    tokenizer = tiny_tokenizer("{{ bos_token }}" + CHATML)
    tokenizer.bos_token = "<|im_start|>"
    with pytest.raises(RunError, match="twice"):
        load(ftk_run, tokenizer).encode([(TURN, ())])


def test_a_default_system_prompt_is_written_into_what_is_saved(ftk_run):
    said = 'Say "\u00e9\U0001f600" and \\n.'
    for name in ("chatml", "smollm2", "auto"):
        tokenizer = tiny_tokenizer()
        template = load(ftk_run, tokenizer, name, default_system=said)
        text = template.render(QUESTION, generation_prompt=True)
        assert text.startswith(f"<|im_start|>system\n{said}<|im_end|>\n<|im_start|>user\nhello")
        tokenizer.chat_template = template.jinja
        assert tokenizer.apply_chat_template(QUESTION, tokenize=False, add_generation_prompt=True) == text
        own = [{"role": "system", "content": "Mine."}, *QUESTION]
        assert said not in template.render(own)


def test_an_empty_default_system_prompt_takes_the_templates_own_away(ftk_run):
    assert "system" in load(ftk_run, tiny_tokenizer(), "smollm2").render(QUESTION)
    assert "system" not in load(ftk_run, tiny_tokenizer(), "smollm2", default_system="").render(QUESTION)


def test_settings_of_thoughts_are_written_into_what_is_saved(ftk_run):
    tokenizer = tiny_tokenizer()
    template = load(ftk_run, tokenizer, "qwen3", enable_thinking=False)
    assert template.render(QUESTION, generation_prompt=True).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    tokenizer.chat_template = template.jinja
    saved = tokenizer.apply_chat_template(QUESTION, tokenize=False, add_generation_prompt=True)
    assert saved == template.render(QUESTION, generation_prompt=True)
    asked = tokenizer.apply_chat_template(QUESTION, tokenize=False, add_generation_prompt=True, enable_thinking=True)
    assert asked.endswith("<|im_start|>assistant\n")


def test_a_setting_that_the_template_does_not_know_is_not_ignored_in_silence(ftk_run, caplog):
    load(ftk_run, tiny_tokenizer(), "chatml", preserve_thinking=True)
    assert "preserve_thinking has no effect" in caplog.text
    load(ftk_run, tiny_tokenizer(), "auto", default_system="")
    assert "default_system: ''" in caplog.text


def test_a_tool_format_that_the_template_does_not_write_is_an_error_of_the_plan():
    make_plan({"template": "qwen3", "tool_format": "qwen"}, components=["template:qwen3"])
    with pytest.raises(ConfigError, match="tool_format='llama3', but template 'qwen3' writes tool calls as 'qwen'"):
        make_plan({"template": "qwen3", "tool_format": "llama3"}, components=["template:qwen3"])
