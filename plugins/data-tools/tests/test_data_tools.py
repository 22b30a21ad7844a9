"""The plugin, and what it shows and counts."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from ft_plugin_data_tools import plugin
from ft_plugin_data_tools.census import main_script
from ft_plugin_data_tools.report import bins, histogram
from ft_plugin_data_tools.terminal import Style, spans
from ft_plugin_data_tools.tokens import sequences_of, spelt, visible
from ftk.guard import HEAVY
from ftk_sdk.contracts import PluginContract
from ftk_sdk.tiny import tiny_tokenizer

TALK = [
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "hello world"},
]


class TestPlugin(PluginContract):
    plugin = plugin


@pytest.mark.parametrize("words", [[], ["show"], ["stats"], ["validate"], ["convert"]])
def test_help_imports_nothing_heavy(words):
    code = "import sys\nfrom ftk.cli.main import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += "print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, "data", *words, "--help"], capture_output=True, text=True)
    assert "Usage: ftk data" in done.stdout
    assert HEAVY & set(done.stderr.split()) == set()


# show


def shown(ftk, *words):
    code, out, err = ftk("data", "show", "run.yaml", "--json", *words)
    assert code == 0, err
    return json.loads(out)


def trained(sequence):
    return "".join(t for t, weight in zip(sequence["text"], sequence["weight"], strict=True) if weight)


def test_show_prints_what_is_trained_and_what_is_not(ftk, write):
    write({"messages": TALK})
    code, out, _ = ftk("data", "show", "run.yaml")
    assert code == 0 and "\x1b" not in out
    assert "train row 0 of 1: " in out
    lines = out.splitlines()
    answer = next(line for line in lines if "hello\u00b7world" in line)
    assert answer.split()[1:] == ["1", "hello\u00b7world<|im_end|>\u23ce"]
    assert any("<|im_start|>user\u23ce" in line for line in lines)


def test_show_gives_every_column_and_the_text_of_every_token(ftk, write):
    write({"messages": TALK})
    ((sequence,),) = [row["sequences"] for row in shown(ftk)]
    columns = sequence["columns"]
    assert {"input_ids", "labels", "attention_mask"} <= columns.keys()
    assert {len(values) for values in columns.values()} == {len(sequence["text"])}
    assert "".join(sequence["text"]) == tiny_tokenizer().decode(columns["input_ids"])
    assert trained(sequence).startswith("hello world<|im_end|>")
    assert [t for t, c in zip(sequence["text"], sequence["control"], strict=True) if c] == [
        "<|im_start|>",
        "<|im_end|>",
        "<|im_start|>",
        "<|im_end|>",
    ]


def test_weights_of_turns_are_shown(ftk, write):
    turns = [*TALK, {"role": "user", "content": "bye"}, {"role": "assistant", "content": "fox", "weight": 0.5}]
    write({"messages": turns})
    (row,) = shown(ftk)
    assert set(row["sequences"][0]["weight"]) == {0, 0.5, 1}


def test_packed_rows_show_their_documents(ftk, write):
    write(*[{"messages": TALK}] * 3)
    (row,) = shown(ftk, "packing=true", "cutoff_len=256")
    (sequence,) = row["sequences"]
    assert list(dict.fromkeys(sequence["part"])) == ["document 1", "document 2", "document 3"]
    starts = [i for i, position in enumerate(sequence["columns"]["position_ids"]) if position == 0]
    assert [sequence["part"][i] for i in starts] == ["document 1", "document 2", "document 3"]
    _, out, _ = ftk("data", "show", "run.yaml", "packing=true", "cutoff_len=256")
    assert "3 documents" in out and "-- document 3 --" in out


def test_pretraining_text_is_shown_and_its_first_token_is_no_target(ftk, write):
    write({"text": "the quick brown fox"})
    (row,) = shown(ftk, "stage=pt")
    (sequence,) = row["sequences"]
    assert sequence["weight"] == [0] + [1] * (len(sequence["weight"]) - 1)


def test_rows_are_drawn_by_seed_or_named(ftk, write):
    write(*[{"messages": [TALK[0], {"role": "assistant", "content": f"fox {i}"}]} for i in range(50)])
    first, again, other = (shown(ftk, "--rows", 4, f"seed={seed}") for seed in (1, 1, 2))
    assert first == again != other
    assert [row["row"] for row in shown(ftk, "--row", "7,3")] == [7, 3]
    assert trained(shown(ftk, "--row", "7")[0]["sequences"][0]).startswith("fox 7<|im_end|>")
    code, _, err = ftk("data", "show", "run.yaml", "--row", "50")
    assert code == 1 and "row 50: train has 50 rows" in err
    code, _, err = ftk("data", "show", "run.yaml", "--row", "a")
    assert code == 2 and "--row 'a' is not a list of numbers" in err


def test_evaluation_data_is_shown_held_back_or_its_own(ftk, write):
    write(*[{"messages": TALK}] * 10)
    assert {(row["split"], row["of"]) for row in shown(ftk, "--split", "eval", "val_size=3")} == {("eval", 3)}
    own = shown(ftk, "--split", "eval", "eval_dataset=rows.jsonl", "eval_on_each_dataset=true", "--rows", 1)
    assert [row["split"] for row in own] == ["eval rows.jsonl"]
    code, _, err = ftk("data", "show", "run.yaml", "--split", "eval")
    assert code == 1 and "this config has no eval data" in err


def test_a_stream_shows_its_first_rows(ftk, write):
    write(*[{"messages": TALK}] * 5)
    rows = shown(ftk, "streaming=true", "max_steps=1", "--rows", 2)
    assert [(row["row"], row["of"]) for row in rows] == [(0, None), (1, None)]


def test_a_step_of_a_pipeline_is_looked_at(ftk, write, tmp_path):
    write({"messages": TALK})
    with open(tmp_path / "run.yaml", "a") as f:
        f.write("finetuning_type: lora\npipeline:\n- {stage: pt, dataset: rows.jsonl}\n- {name: talk, stage: sft}\n")
    (row,) = shown(ftk, "--step", "pt")
    assert row["sequences"][0]["weight"][1] == 1
    code, _, err = ftk("data", "show", "run.yaml")
    assert code == 2 and "choose one with --step: pt, talk" in err
    code, _, err = ftk("data", "stats", "run.yaml", "--step", "dpo")
    assert code == 2 and "no such step" in err


def test_looking_leaves_nothing_behind(ftk, write, tmp_path):
    write({"messages": TALK})
    before = sorted(tmp_path.iterdir())
    shown(ftk)
    assert sorted(tmp_path.iterdir()) == before


def test_a_page_is_one_file_whose_text_can_do_no_harm(ftk, write, tmp_path):
    write({"messages": [{"role": "user", "content": "<script>alert(1)</script>"}, TALK[1]]})
    code, _, err = ftk("data", "show", "run.yaml", "--html", "rows.html")
    assert code == 0, err
    text = (tmp_path / "rows.html").read_text(encoding="utf-8")
    assert "<script" not in text and "http" not in text and "<link" not in text
    assert 'class="t l"' in text and "labels: -100" in text
    code, _, err = ftk("data", "show", "run.yaml", "--html", "nowhere/rows.html")
    assert code == 1 and "cannot write nowhere/rows.html" in err


def test_no_text_reaches_the_terminal_as_a_command(ftk, write):
    write({"messages": [{"role": "user", "content": "\x1b[2J\u202e"}, TALK[1]]})
    _, out, _ = ftk("data", "show", "run.yaml")
    assert "\x1b" not in out and "\\x1b[2J\\u202e" in out


def test_tokens_of_parts_of_characters_spell_the_whole():
    tokenizer = tiny_tokenizer()
    for text in ("a\u4f60\u597d b", "\U0001f600", "x \ufffd\ufffd\ufffd\ufffd\ufffd y", "e\u0301 "):
        ids = tokenizer(text)["input_ids"]
        pieces = spelt(ids, tokenizer.decode)
        assert len(pieces) == len(ids) and "".join(pieces) == text
    cut = tokenizer("\u4f60")["input_ids"][:-1]
    assert spelt(cut, tokenizer.decode)[-1] == "\ufffd"


def test_whitespace_and_hidden_characters_can_be_seen():
    assert visible("a b\n\t\u200b\xa0") == "a\u00b7b\u23ce\u21e5\\u200b\\xa0"


def test_pairs_in_columns_of_their_own_are_sequences_of_their_own():
    row = {"chosen_input_ids": [[1, 60, 61]], "chosen_labels": [[-100, 60, 61]], "chosen_attention_mask": [[1, 1, 1]]}
    row |= {"rejected_input_ids": [[1, 62, 3, 3]], "rejected_labels": [[-100, 62, -100, -100]]}
    row |= {"rejected_attention_mask": [[1, 1, 0, 0]]}
    batch = {name: torch.tensor(values) for name, values in row.items()} | {"ref_logps": torch.tensor([0.5])}
    chosen, rejected = sequences_of(batch, tiny_tokenizer())
    assert (chosen.name, rejected.name) == ("chosen_", "rejected_")
    assert (chosen.weights, rejected.weights) == ([0, 1, 1], [0, 1, 0, 0])
    assert (chosen.padding, rejected.padding) == ([False] * 3, [False, False, True, True])
    assert chosen.facts == {"ref_logps": 0.5}


def test_prompts_that_a_stage_generates_from_are_shown():
    batch = {"prompt_ids": torch.tensor([[3, 1, 60]]), "prompt_mask": torch.tensor([[0, 1, 1]])}
    (row,) = sequences_of(batch | {"example": torch.zeros(1, 9, dtype=torch.uint8)}, tiny_tokenizer())
    assert (row.ids, row.padding, row.trained) == ([3, 1, 60], [True, False, False], 0)
    assert row.facts == {"example": "shape (1, 9)"}


def test_pairs_in_one_row_show_what_belongs_to_what():
    batch = {"input_ids": [[1, 60, 61, 62, 3]], "labels": [[-100, -100, 61, 62, -100]], "segments": [[0, 0, 1, 2, 3]]}
    batch = {name: torch.tensor(values) for name, values in batch.items()}
    (row,) = sequences_of(batch, tiny_tokenizer(), ("prompt", "chosen", "rejected", "padding"))
    assert row.parts == ["prompt", "prompt", "chosen", "rejected", "padding"]
    assert row.padding == [False] * 4 + [True]
    lines = "\n".join(spans(row, Style(coloured=False)))
    assert "-- chosen --" in lines and "<|pad|> x 1" in lines
    (unnamed,) = sequences_of(batch, tiny_tokenizer())
    assert unnamed.parts[2] == "segment 1"


def test_colours_mark_what_is_trained_and_end_with_the_line():
    batch = {"input_ids": torch.tensor([[1, 60, 202, 61]]), "labels": torch.tensor([[-100, 60, 202, -100]])}
    (row,) = sequences_of(batch, tiny_tokenizer())
    lines = list(spans(row, Style(coloured=True)))
    assert any("\x1b[32;1m" in line for line in lines)
    for line in lines:
        assert line.count("\x1b[0m") * 2 == line.count("\x1b[")


# stats


def counted(ftk, *words):
    code, out, err = ftk("data", "stats", "run.yaml", "--json", *words)
    assert code == 0, err
    return json.loads(out)


def test_stats_count_tokens_loss_duplicates_and_scripts(ftk, write):
    chinese = [{"role": "user", "content": "\u4f60\u597d"}, {"role": "assistant", "content": "\u4f60\u597d\u3002"}]
    asked_again = [{"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "fox"}]
    write({"messages": TALK}, {"messages": TALK}, {"messages": asked_again}, {"messages": chinese})
    found = counted(ftk)
    rows = [s for row in shown(ftk, "--row", "0,1,2,3") for s in row["sequences"]]
    assert found["tokens"]["sum"] == sum(len(s["text"]) for s in rows)
    assert found["with_loss"]["sum"] == sum(weight != 0 for s in rows for weight in s["weight"])
    assert found["tokens"]["max"] == max(len(s["text"]) for s in rows)
    assert (found["duplicate_rows"], found["alike_prompts"]) == (1, 2)
    assert found["scripts"] == {"Latin": 3, "Han": 1}


def test_stats_say_what_is_dropped_and_what_would_be_cut(ftk, write):
    long = [TALK[0], {"role": "assistant", "content": "lazy dog " * 100}]
    write({"messages": TALK}, {"messages": long}, {"messages": [TALK[0], {"role": "assistant", "content": ""}]})
    found = counted(ftk, "cutoff_len=64")
    assert found["datasets"][0]["dropped"] == 1
    whole = counted(ftk, "cutoff_len=4096")["tokens"]
    cuts = {each["cutoff_len"]: each for each in found["cut"]}
    assert cuts[64] == {"cutoff_len": 64, "sequences": 1, "tokens": whole["max"] - 64}
    assert cuts[128]["tokens"] == whole["max"] - 128
    assert list(cuts.values())[-1]["sequences"] == 0
    _, out, _ = ftk("data", "stats", "run.yaml", "cutoff_len=64")
    assert "dropped 1: turn 2: empty answer (rows.jsonl:3)" in out and "(this run)" in out


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        (["per_device_train_batch_size=2", "num_train_epochs=3"], {"rows": 10, "global_batch": 2, "steps": 15}),
        (["per_device_train_batch_size=3", "gradient_accumulation_steps=2", "num_train_epochs=1"], {"steps": 2}),
        (["per_device_train_batch_size=4", "max_steps=7"], {"steps": 7, "epochs": 2.33}),
        (["per_device_train_batch_size=1", "num_train_epochs=1", "val_size=0.2"], {"rows": 8, "steps": 8}),
    ],
)
def test_steps_are_those_of_the_run(ftk, write, keys, wanted):
    write(*[{"messages": TALK}] * 10)
    assert counted(ftk, *keys)["training"].items() >= wanted.items()


def test_stats_of_packed_data_say_how_full_it_is(ftk, write):
    write(*[{"messages": TALK}] * 10)
    found = counted(ftk, "packing=true", "cutoff_len=100")
    assert found["packing"]["full"] == pytest.approx(found["tokens"]["sum"] / (100 * found["packing"]["sequences"]))
    assert found["training"]["rows"] == found["packing"]["sequences"] < 10


@pytest.mark.parametrize("name", ["lengths.png", "lengths.svg"])
def test_a_picture_is_drawn(ftk, write, tmp_path, name):
    write(*[{"messages": TALK}] * 3)
    code, _, err = ftk("data", "stats", "run.yaml", "--plot", name)
    assert code == 0, err
    assert (tmp_path / name).read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")
    code, _, err = ftk("data", "stats", "run.yaml", "--plot", "lengths.gif")
    assert code == 2 and "drawn as .png or .svg" in err


def test_streams_are_not_counted(ftk, write):
    write({"messages": TALK})
    code, _, err = ftk("data", "stats", "run.yaml", "streaming=true", "max_steps=1")
    assert code == 1 and "add streaming=false" in err


def test_a_histogram_holds_every_number():
    for counts in ([0], [1, 1, 5], list(range(1000)), [10**6]):
        numbers, edges = bins(np.array(counts))
        assert numbers.sum() == len(counts) and edges[0] == 0 and edges[-1] > max(counts)
        assert len(list(histogram(np.array(counts)))) <= 12


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("hello", "Latin"),
        ("\u043f\u0440\u0438\u0432\u0435\u0442 x", "Cyrillic"),
        ("\u6771\u4eac\u3067\u3059", "Han and Kana"),
        ("\ud55c\uad6d\uc5b4", "Hangul"),
        ("123 !", "no letters"),
        ("", "no letters"),
    ],
)
def test_a_row_is_of_the_script_of_most_of_its_letters(text, script):
    assert main_script(text) == script
