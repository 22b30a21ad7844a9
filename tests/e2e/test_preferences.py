"""Stages that learn from pairs, from a YAML to a model that answers, with every method; and the files of examples/."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from ftk.cli.main import main
from ftk_sdk.testing import log_of, make_plan

EXAMPLES = Path(__file__).parents[2] / "examples"
ROWS = [
    {
        "conversations": [{"from": "human", "value": f"what is {a} and {b}"}],
        "chosen": {"from": "gpt", "value": f"the answer is {a + b}"},
        "rejected": {"from": "gpt", "value": "I do not know" + " at all" * b},
    }
    for a in range(4)
    for b in range(3)
]
INFO = {
    "rows": {
        "file_name": "rows.json",
        "formatting": "sharegpt",
        "ranking": True,
        "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"},
    }
}
METHODS = {
    "lora": "finetuning_type: lora\nlora_rank: 4\n",
    "dora": "finetuning_type: lora\nlora_rank: 4\nuse_dora: true\n",
    "full": "finetuning_type: full\n",
    "freeze": "finetuning_type: freeze\nfreeze_trainable_layers: 1\n",
}
CASES = [("dpo", method) for method in METHODS] + [("orpo", "lora"), ("simpo", "full"), ("cpo", "dora")]


def run(*words) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(w) for w in words])
    assert not stopped.value.code


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.json").write_text(json.dumps(ROWS))
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps(INFO))
    return tmp_path


def config(here: Path, model: Path, stage: str, method: str, **keys) -> Path:
    more = "".join(f"{key}: {json.dumps(value)}\n" for key, value in keys.items())
    text = (
        f"model_name_or_path: {model}\nstage: {stage}\ntemplate: chatml\ndataset: rows\n{METHODS[method]}"
        "output_dir: out\nper_device_train_batch_size: 2\ngradient_accumulation_steps: 2\nlearning_rate: 1.0e-3\n"
        f"cutoff_len: 64\nlogging_steps: 1\nsave_strategy: 'no'\n{more}"
    )
    (here / "run.yaml").write_text(text)
    return here / "run.yaml"


@pytest.mark.parametrize(("stage", "method"), CASES)
def test_each_stage_trains_and_the_result_loads(here, tiny_model_dir, stage, method, capsys):
    run("run", config(here, tiny_model_dir, stage, method, num_train_epochs=3))
    log = log_of(here / "out")
    assert len(log) == 9 and log[-1]["loss"] < log[0]["loss"]
    if stage == "dpo":
        assert log[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
        assert log[-1]["rewards/margins"] > log[0]["rewards/margins"] == pytest.approx(0, abs=1e-4)
        assert log[-1]["rewards/accuracies"] > 0.5
    if method in ("full", "freeze"):
        trained = AutoModelForCausalLM.from_pretrained(here / "out").state_dict()
        before = AutoModelForCausalLM.from_pretrained(tiny_model_dir).state_dict()
        moved = {name for name in before if not torch.equal(before[name], trained[name])}
        assert moved and (method == "full" or all(name.startswith("model.layers.1.") for name in moved))
    else:
        assert (here / "out" / "adapter_model.safetensors").is_file()
    capsys.readouterr()
    run("chat", here / "run.yaml", "max_new_tokens=3", "--prompt", "what is 1 and 1")
    assert capsys.readouterr().out


def test_dpo_on_top_of_sft_begins_at_what_sft_made(here, tiny_model_dir):
    """The reference is the model with the adapter of the first run, not the one below it."""
    rows = [{"instruction": r["conversations"][0]["value"], "output": r["chosen"]["value"]} for r in ROWS]
    (here / "data" / "sft.json").write_text(json.dumps(rows))
    keys = {"dataset": "data/sft.json", "output_dir": "sft", "stage": "sft", "max_steps": 4}
    run("run", config(here, tiny_model_dir, "dpo", "lora"), *(f"{k}={v}" for k, v in keys.items()))
    run("run", here / "run.yaml", "adapter_name_or_path=sft", "max_steps=3")
    log = log_of(here / "out")
    assert log[0]["loss"] == pytest.approx(0.6931, abs=1e-3) and log[-1]["loss"] < log[0]["loss"]


def test_bad_pairs_are_counted_and_named(here, tiny_model_dir, capsys):
    def pair(prompt: str, chosen: str, rejected: str) -> dict:
        says = [{"from": "gpt", "value": text} for text in (chosen, rejected)]
        return {"conversations": [{"from": "human", "value": prompt}], "chosen": says[0], "rejected": says[1]}

    bad = [pair("equal", "same", "same"), pair("empty", "", "words"), pair("long " * 80, "one", "two")]
    (here / "data" / "rows.json").write_text(json.dumps(ROWS + bad))
    run("run", config(here, tiny_model_dir, "dpo", "lora", max_steps=1, max_drop=3, truncation="drop"))
    (ledger,) = json.loads((here / "out" / "ledger.json").read_text())["train"]
    assert ledger["kept"] == len(ROWS) and ledger["dropped"] == 3
    told = " ".join(reason["text"] for reason in ledger["reasons"])
    assert "chosen and rejected are equal" in told and "empty" in told and "where cutoff_len is 64" in told


def test_rows_with_one_answer_stop_the_run_with_a_sentence(here, tiny_model_dir, capsys):
    (here / "data" / "rows.json").write_text(json.dumps([{"instruction": "a", "output": "b"}] * 3))
    path = config(here, tiny_model_dir, "dpo", "lora", dataset="./data/rows.json")
    path.write_text(path.read_text().replace("dataset: rows\n", ""))
    with pytest.raises(SystemExit) as stopped:
        main(["run", str(path)])
    assert stopped.value.code
    assert "one answer, where this stage wants a chosen and a rejected answer" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["dpo", "orpo", "simpo", "cpo"])
def test_an_example_can_be_planned(name, monkeypatch):
    monkeypatch.chdir(EXAMPLES.parent)
    lines = (EXAMPLES / f"{name}.yaml").read_text().splitlines()
    assert f"stage: {name}" in lines
    run("plan", EXAMPLES / f"{name}.yaml")
    assert f"stage:{name}" in make_plan({"stage": name})
