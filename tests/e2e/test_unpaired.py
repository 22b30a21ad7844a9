"""kto, bco, distill and predictions, from a YAML to a model that answers; the losses of sft; and the files of examples/."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from ftk.cli.main import main
from ftk_sdk.testing import log_of, make_plan
from ftk_sdk.tiny import tiny_llama, tiny_tokenizer, write_tiny_model

EXAMPLES = Path(__file__).parents[2] / "examples"
ROWS = [
    {
        "instruction": f"what is {a} and {b}",
        "output": f"the answer is {a + b}" if (a + b) % 2 else "I do not know" + " at all" * b,
        "kto_tag": bool((a + b) % 2),
    }
    for a in range(4)
    for b in range(3)
]
METHODS = {
    "lora": "finetuning_type: lora\nlora_rank: 4\n",
    "dora": "finetuning_type: lora\nlora_rank: 4\nuse_dora: true\n",
    "full": "finetuning_type: full\n",
    "freeze": "finetuning_type: freeze\nfreeze_trainable_layers: 1\n",
}
CASES = [(stage, method) for stage in ("kto", "distill") for method in METHODS] + [("bco", "lora"), ("bco", "full")]


def run(*words) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(w) for w in words])
    assert not stopped.value.code


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    write_tiny_model(tmp_path / "teacher", seed=1)
    return tmp_path


def config(here: Path, model: Path, stage: str, method: str = "lora", **keys) -> Path:
    keys = ({"teacher_model": "./teacher"} if stage == "distill" else {}) | keys
    more = "".join(f"{key}: {json.dumps(value)}\n" for key, value in keys.items())
    text = (
        f"model_name_or_path: {model}\nstage: {stage}\ntemplate: chatml\ndataset: ./rows.json\n{METHODS[method]}"
        "output_dir: out\nper_device_train_batch_size: 2\ngradient_accumulation_steps: 2\nlearning_rate: 3.0e-3\n"
        f"cutoff_len: 64\nlogging_steps: 1\nsave_strategy: 'no'\n{more}"
    )
    (here / "run.yaml").write_text(text)
    return here / "run.yaml"


@pytest.mark.parametrize(("stage", "method"), CASES)
def test_each_stage_trains_and_the_result_loads(here, tiny_model_dir, stage, method, capsys):
    path = config(here, tiny_model_dir, stage, method, num_train_epochs=4)
    run("run", path)
    log = log_of(here / "out")
    assert len(log) == 12
    assert sum(entry["loss"] for entry in log[-3:]) < sum(entry["loss"] for entry in log[:3])
    if stage != "distill":
        assert log[0]["loss"] == pytest.approx(0.5 if stage == "kto" else 0.6931, abs=1e-3)
        assert log[-1]["rewards/margins"] > 0
    if method in ("full", "freeze"):
        trained = AutoModelForCausalLM.from_pretrained(here / "out").state_dict()
        before = AutoModelForCausalLM.from_pretrained(tiny_model_dir).state_dict()
        assert any(not torch.equal(trained[name], before[name]) for name in before)
    capsys.readouterr()
    run("chat", path, "--prompt", "what is 1 and 1", "do_sample=false", "max_new_tokens=4")
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("loss", ["dft", "eaft", "asft"])
def test_each_loss_of_sft_trains(here, tiny_model_dir, loss):
    keys = {f"use_{loss}_loss": True, "z_loss_coefficient": 1e-4, "num_train_epochs": 4}
    run("run", config(here, tiny_model_dir, "sft", **keys))
    log = log_of(here / "out")
    assert all(0 < entry["loss"] < 20 for entry in log)
    assert log[-1]["loss"] != log[0]["loss"]


def test_predictions_of_a_trained_model_are_written_and_scored(here, tiny_model_dir):
    keys = {"val_size": 3, "do_train": True, "do_predict": True, "max_new_tokens": 4, "max_steps": 2}
    run("run", config(here, tiny_model_dir, "sft", **keys))
    rows = [json.loads(line) for line in (here / "out" / "generated_predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 3 and all(row.keys() == {"prompt", "predict", "label"} for row in rows)
    assert "predict_rouge-l" in json.loads((here / "out" / "all_results.json").read_text())


WRONG = {
    "no verdict": ("kto", [{"instruction": "hello", "output": "fox"}], "no verdict"),
    "an empty answer": ("kto", [{"instruction": "hello", "output": " ", "kto_tag": True}], "answer"),
    "a verdict that is none": ("bco", [{"instruction": "hello", "output": "fox", "kto_tag": "maybe"}], "kto_tag"),
    "raw text": ("distill", [{"text": "the quick brown fox"}], "raw text"),
    "a long prompt": (
        "kto",
        [{"instruction": "hello " * 90, "output": "fox", "kto_tag": True}],
        "where cutoff_len is 64",
    ),
    "one row": ("kto", [{"instruction": "hello", "output": "fox", "kto_tag": True}], "at least 2 rows"),
}


@pytest.mark.parametrize("case", WRONG)
def test_data_that_cannot_be_used_is_an_error_in_words(here, tiny_model_dir, case, capsys):
    stage, rows, message = WRONG[case]
    (here / "rows.json").write_text(json.dumps(rows * (1 if case == "one row" else 4)))
    with pytest.raises(SystemExit) as stopped:
        main(["run", str(config(here, tiny_model_dir, stage, truncation="drop"))])
    said = capsys.readouterr()
    assert stopped.value.code in (1, 2)
    assert message in said.err + said.out and "Traceback" not in said.err + said.out


def test_a_teacher_of_another_vocabulary_is_an_error_in_words(here, tiny_model_dir, capsys):
    tiny_llama().save_pretrained(here / "other")
    tiny_tokenizer(extra_tokens=("<|new|>",)).save_pretrained(here / "other")
    with pytest.raises(SystemExit) as stopped:
        main(["run", str(config(here, tiny_model_dir, "distill", teacher_model="./other"))])
    assert stopped.value.code == 1
    assert "another vocabulary" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["sft_dft", "sft_predict", "kto", "bco", "distill"])
def test_the_examples_can_be_planned(name, monkeypatch):
    from ftk.load import parse_yaml

    monkeypatch.chdir(EXAMPLES.parent)
    keys = {key: raw.value for key, raw in parse_yaml((EXAMPLES / f"{name}.yaml").read_text(), name).items()}
    assert not [p for p in make_plan(keys).problems if p.level == "error"]
