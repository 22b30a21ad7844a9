"""The plugin, and how a run gets its template."""

import sys

import pytest

import ft_plugin_templates.plugin as plugin
from ft_plugin_templates.pack import names, read, template_components
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
    assert gemma3.alias_of == "gemma"
    assert (gemma3.name, gemma3.chat_template) == ("gemma3", gemma.chat_template)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("stop = ['x']", "'chat_template' is missing"),
        ("chat_template = '''x'''\nstpo = []", "unknown key 'stpo'"),
        ("chat_template = '''x'''\nmedia = {smell = 'x'}", "unknown medium 'smell'"),
        ("chat_template = '''x'''\nthought = {open = '<'}", "close"),
        ("alias_of = 'nobody'", "'alias_of' stands alone"),
        ("alias_of = 'good'\nstop = []", "'alias_of' stands alone"),
        ("alias_of = 'also'", "'alias_of' stands alone"),
        ("= 3", "line 1"),
    ],
)
def test_a_file_that_breaks_the_rules_is_named(tmp_path, monkeypatch, text, reason):
    package = pack(tmp_path, monkeypatch, good="chat_template = '''x'''", also="alias_of = 'good'", bad=text)
    assert [c.name for c in template_components(package)] == ["also", "bad", "good"]
    with pytest.raises(RunError, match="template 'bad' of some_pack") as error:
        read(package, "bad")
    assert reason in str(error.value)


def test_auto_takes_the_template_of_the_tokenizer(ftk_run):
    template = load(ftk_run, tiny_tokenizer())
    assert template.jinja == CHATML
    assert template.stop == ("<|im_end|>",)
    assert template.render(TURN) == tiny_tokenizer().apply_chat_template(TURN, tokenize=False)


def test_auto_knows_an_original_and_takes_the_template_that_marks_its_answers(ftk_run, monkeypatch):
    facts = read(PACKAGE, "qwen3")
    monkeypatch.setattr("ft_plugin_templates.load.known_original", lambda text: facts if text == "theirs" else None)
    template = load(ftk_run, tiny_tokenizer("theirs"))
    assert template.name == "qwen3"
    assert "generation" in template.jinja


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
