"""Bad input gives one clear message with its place and exit code; no traceback, nothing half-written."""

import json
import os
from pathlib import Path

import pytest

from ftk.cli.main import main

CONFIGS = {
    "a list": ("- a\n- b\n", "bad.yaml:1: error: a config is a mapping"),
    "a sentence": ("train my model\n", "bad.yaml:1: error: a config is a mapping"),
    "an open bracket": ("stage: sft\nlora_target: [q_proj\nseed: 1\n", "bad.yaml:3: error: not valid YAML"),
    "a tab": ("stage:\tsft: x\n", "bad.yaml:1: error: not valid YAML"),
    "an open quote": ("stage: 'sft\n", "bad.yaml:2: error: not valid YAML"),
    "a python object": ("stage: !!python/name:os.system\n", "error: not valid YAML"),
    "a key twice": ("seed: 1\nstage: sft\nseed: 2\n", "bad.yaml:3: error: 'seed' is set twice, first on line 1"),
    "a misspelt key": ("lora_rnak: 8\n", "bad.yaml:1: error: unknown key 'lora_rnak'\n    did you mean 'lora_rank'?"),
    "a foreign key": ("frobnicate: 8\n", "bad.yaml:1: error: unknown key 'frobnicate'\n    run 'ftk keys'"),
    "a word for a number": ("\nlora_rank: eight\n", "bad.yaml:2: error: lora_rank: input should be a valid integer"),
    "a fraction for a count": ("lora_rank: 1.5\n", "bad.yaml:1: error: lora_rank:"),
    "a list for a number": ("learning_rate: [1, 2]\n", "bad.yaml:1: error: learning_rate:"),
    "a number for a switch": ("bf16: 7\n", "bad.yaml:1: error: bf16:"),
    "a mapping for a text": ("output_dir: {a: b}\n", "bad.yaml:1: error: output_dir:"),
    "null for a number": ("seed: null\n", "bad.yaml:1: error: seed:"),
    "a choice that is none": ("save_strategy: stepz\n", "bad.yaml:1: error: save_strategy: 'stepz' is not one of"),
    "an unknown stage": (
        "stage: sfft\n",
        "bad.yaml:1: error: no plugin offers stage:sfft (stage: sfft)\n    did you mean 'sft'?",
    ),
    "an adapter to come": (
        "finetuning_type: oft\n",
        "adapter:oft (finetuning_type: oft) is provided by ft-plugin-oft",
    ),
    "an unknown adapter": ("finetuning_type: lara\n", "did you mean 'lora'?"),
    "an unknown template": ("template: qwen33\n", "bad.yaml:1: error: no plugin offers template:qwen33"),
    "an unknown engine": ("infer_backend: vlm\n", None),
    "two optimizers": ("use_galore: true\nuse_muon: true\nfinetuning_type: full\n", "a run has one optimizer"),
    "lora with galore": (
        "use_galore: true\n",
        "optimizer:galore (use_galore: True) cannot run together with adapter:lora (default)",
    ),
    "dora without lora": (
        "use_dora: true\nfinetuning_type: full\n",
        "addon:dora (use_dora: True) requires adapter:lora",
    ),
    "a block and its key": ("lora: {rank: 4}\nlora_rank: 8\n", "'lora_rank' is set twice: alone and in a block"),
    "a block with a misspelling": ("lora: {rnak: 4}\n", "bad.yaml:1: error: unknown key 'lora_rnak'"),
    "an alias and its key": ("warmup_ratio: 0.1\nwarmup_steps: 5\n", "are the same key, and both are set"),
    "a ratio of one and a half": ("warmup_ratio: 1.5\n", "bad.yaml:1: error: warmup_ratio:"),
    "streaming without an end": ("streaming: true\ndataset: d\n", "max_steps"),
    "a folder that does not exist": ("model_name_or_path: ./nowhere\n", "bad.yaml:1: error:"),
    "no data": ("model_name_or_path: MODEL\n", "error: "),
    "an empty file": ("", "error: "),
}


def rows(*items) -> bytes:
    return "".join(json.dumps(i) + "\n" for i in items).encode()


GOOD = {"instruction": "Say hello to the world.", "output": "hello world, what is your name"}
TALK = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hello world"}]

DATA = {
    "empty.json": (b"", "empty.json"),
    "blank.jsonl": (b"\n\n", "blank.jsonl"),
    "none.json": (b"[]", "none.json"),
    "cut.json": (json.dumps([GOOD, GOOD])[:-20].encode(), "cut.json:1"),
    "cut.jsonl": (rows(GOOD) + b'{"instruction": "a", "out', "cut.jsonl:2"),
    "comma.json": (b'[{"instruction": "a",}]', "comma.json:1"),
    "words.json": (b"hello there", "words.json:1"),
    "number.json": (b"42", "number.json"),
    "strings.json": (b'["a", "b"]', "strings.json"),
    "lists.jsonl": (b"[1, 2]\n[3]\n", "lists.jsonl:1"),
    "latin.jsonl": (rows(GOOD) + b'{"instruction": "caf\xe9", "output": "x"}\n', "latin.jsonl:2"),
    "utf16.json": (json.dumps([GOOD]).encode("utf-16"), "utf16.json"),
    "binary.jsonl": (bytes(range(256)) * 4, "binary.jsonl"),
    "nul.jsonl": (b'{"instruction": "a\x00b", "output": "c"}\n', "nul.jsonl:1"),
    "columns.jsonl": (rows({"question": "a", "reply": "b"}), "columns.jsonl"),
    "noanswer.jsonl": (rows({"instruction": "a", "output": ""}), "noanswer.jsonl"),
    "nullanswer.jsonl": (rows({"instruction": "a", "output": None}), "nullanswer.jsonl"),
    "numbers.jsonl": (rows({"instruction": 1, "output": 2}), "numbers.jsonl"),
    "roles.jsonl": (rows({"messages": [{"role": "wizard", "content": "x"}]}), "unknown role 'wizard'"),
    "notalk.jsonl": (rows({"messages": []}), "notalk.jsonl"),
    "onlyuser.jsonl": (rows({"messages": TALK[:1]}), "onlyuser.jsonl"),
    "content.jsonl": (rows({"messages": [{"role": "user", "content": {"a": 1}}, TALK[1]]}), "content.jsonl"),
    "messages.jsonl": (rows({"messages": "hello"}), "messages.jsonl"),
    "arguments.jsonl": (
        rows(
            {
                "messages": [
                    TALK[0],
                    {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]},
                ]
            }
        ),
        "arguments.jsonl",
    ),
    "sharegpt.jsonl": (rows({"conversations": [{"from": "robot", "value": "x"}]}), "unknown role 'robot'"),
    "twousers.jsonl": (rows({"conversations": [{"from": "human", "value": "x"}] * 2}), "twousers.jsonl"),
    "ragged.csv": (b"instruction,output\na,b\nc,d,e\n", "ragged.csv:3"),
    "header.csv": (b"", "header.csv"),
    "fake.parquet": (b"PAR1 not really", "fake.parquet"),
    "fake.arrow": (b"not arrow", "fake.arrow"),
    "image.jsonl": (rows({"messages": [TALK[0], TALK[1]], "images": ["a.png"]}), "media rows need a vision template"),
    "type.xyz": (b"hello", "type.xyz"),
}


def call(capsys, *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stopped:
        main([str(w) for w in words])
    captured = capsys.readouterr()
    return stopped.value.code or 0, captured.err


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", CONFIGS)
def test_a_broken_config_is_told_and_nothing_starts(name, here, capsys, tiny_model_dir):
    text, message = CONFIGS[name]
    (here / "bad.yaml").write_text(text.replace("MODEL", str(tiny_model_dir)))
    code, told = call(
        capsys,
        *(["chat"] if message is None else ["run"]),
        "bad.yaml",
        *(["--prompt", "hi"] if message is None else []),
    )
    assert code == 2, told
    assert (message or "engine:vlm (infer_backend: vlm)") in told
    assert "Traceback" not in told and os.listdir(here) == ["bad.yaml"]


@pytest.mark.parametrize("name", DATA)
def test_a_broken_data_file_is_told_with_its_place(name, here, capsys, tiny_model_dir):
    content, message = DATA[name]
    (here / name).write_bytes(content)
    config = f"model_name_or_path: {tiny_model_dir}\ndataset: ./{name}\noutput_dir: out\nmax_steps: 1\ncutoff_len: 64\n"
    (here / "run.yaml").write_text(config)
    code, told = call(capsys, "run", "run.yaml")
    assert code in (1, 2), told
    assert message in told, told
    assert "Traceback" not in told and "this is a bug" not in told
    assert not list(here.glob("out/**/*.safetensors"))


MODELS = {
    "empty": ({}, "config.json"),
    "config only": ({"config.json": b'{"model_type": "llama"}'}, "weights"),
    "broken config": ({"config.json": b"{"}, "config.json"),
    "unknown kind": ({"config.json": b'{"model_type": "zorp"}'}, "does not know the kind of model"),
    "cut weights": ({"model.safetensors": b"\x08\x00\x00\x00\x00\x00\x00\x00{}"}, "safetensors"),
    "pickled weights": ({"pytorch_model.bin": b"", "model.safetensors": None}, "allow_pickle"),
    "no tokenizer": ({"tokenizer.json": None, "tokenizer_config.json": None}, "tokenizer"),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_broken_model_folder_is_told(name, here, capsys, tiny_model_dir):
    files, message = MODELS[name]
    folder = here / "model"
    folder.mkdir()
    kept = {"empty": "nothing", "config only": "token*"}.get(name, "*")
    for path in tiny_model_dir.glob(kept):
        (folder / path.name).write_bytes(path.read_bytes())
    for file, content in files.items():
        (folder / file).unlink(missing_ok=True)
        if content is not None:
            (folder / file).write_bytes(content)
    (here / "good.jsonl").write_bytes(rows(*[GOOD] * 4))
    config = "model_name_or_path: ./model\ndataset: ./good.jsonl\noutput_dir: out\nmax_steps: 1\ntemplate: chatml\n"
    (here / "run.yaml").write_text(config)
    code, told = call(capsys, "run", "run.yaml")
    assert code in (1, 2), told
    assert message in told, told
    assert "Traceback" not in told and "this is a bug" not in told
    assert not list(here.glob("out/**/*.safetensors"))
