"""The program from a YAML to a model that answers, on tiny models: every stage with every adapter, then chat and export."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ftk.cli.main import main

ROWS = [
    {"instruction": f"what is {a} and {b}", "input": "", "output": f"the answer is {a + b} said the fox"}
    for a in range(4)
    for b in range(5)
]
TEXT = "\n".join(f"the quick brown fox number {n} jumps over the lazy dog" for n in range(20))

METHODS = {
    "lora": "finetuning_type: lora\nlora_rank: 4\n",
    "dora": "finetuning_type: lora\nlora_rank: 4\nuse_dora: true\n",
    "full": "finetuning_type: full\n",
    "freeze": "finetuning_type: freeze\nfreeze_trainable_layers: 1\n",
    "galore": "finetuning_type: full\nuse_galore: true\ngalore_rank: 4\ngalore_update_interval: 2\n",
    "muon": "finetuning_type: full\nuse_muon: true\n",
}


def run(*words) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(w) for w in words])
    assert not stopped.value.code


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


def config(here: Path, model: Path, stage: str, method: str, **keys) -> Path:
    data = {"sft": "rows.json", "pt": "text.txt"}[stage]
    keys = {"learning_rate": 1e-3} | keys
    more = "".join(f"{key}: {json.dumps(value)}\n" for key, value in keys.items())
    text = (
        f"model_name_or_path: {model}\nstage: {stage}\ntemplate: chatml\ndataset: ./{data}\n{METHODS[method]}"
        "output_dir: out\nper_device_train_batch_size: 2\ngradient_accumulation_steps: 2\n"
        f"cutoff_len: 64\nlogging_steps: 1\n{more}"
    )
    (here / "run.yaml").write_text(text)
    return here / "run.yaml"


def losses(here: Path, folder: str = "out") -> list[float]:
    lines = (here / folder / "trainer_log.jsonl").read_text().splitlines()
    return [line["loss"] for line in map(json.loads, lines) if "loss" in line]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stage", ["sft", "pt"])
def test_each_stage_trains_with_each_method_and_the_result_loads(here, tiny_model_dir, stage, method, capsys):
    path = config(here, tiny_model_dir, stage, method, max_steps=3, save_strategy="no")
    run("run", path)
    first = losses(here)
    assert len(first) == 3 and all(0 < loss < 20 for loss in first)
    written = json.loads((here / "out" / "plan.json").read_text())
    assert written["data"] and written["hash"]
    capsys.readouterr()
    run("chat", path, "--prompt", "what is 1 and 1", "do_sample=false", "max_new_tokens=4")
    again = capsys.readouterr().out
    run("chat", "out", "--prompt", "what is 1 and 1", "do_sample=false", "max_new_tokens=4")
    assert capsys.readouterr().out == again
    run("run", path, "output_dir=second")
    assert losses(here, "second") == first


def test_an_export_is_a_model_that_transformers_loads_and_says_the_same(here, tiny_model_dir, capsys):
    path = config(here, tiny_model_dir, "sft", "lora", max_steps=10, save_strategy="no", learning_rate=0.01)
    run("run", path)
    run("export", path, "export_dir=merged")
    capsys.readouterr()
    run("chat", path, "--prompt", "what is 1 and 1", "do_sample=false", "max_new_tokens=12")
    adapter_says = capsys.readouterr().out
    run(
        "chat",
        "model_name_or_path=merged",
        "finetuning_type=full",
        "--prompt",
        "what is 1 and 1",
        "do_sample=false",
        "max_new_tokens=12",
    )
    assert capsys.readouterr().out == adapter_says
    tokenizer = AutoTokenizer.from_pretrained(here / "merged")
    model = AutoModelForCausalLM.from_pretrained(here / "merged")
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "what is 1 and 1"}], add_generation_prompt=True, tokenize=False
    )
    ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
    out = model.generate(**ids, do_sample=False, max_new_tokens=12)[0, ids.input_ids.shape[1] :]
    assert tokenizer.decode(out, skip_special_tokens=True).strip() == adapter_says.strip()
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    with torch.no_grad():
        assert not torch.allclose(model(**ids).logits, base(**ids).logits, atol=1e-3)


def test_a_run_that_goes_on_is_the_run_that_never_stopped(here, tiny_model_dir):
    keys = dict(max_steps=8, save_steps=2, lora_dropout=0.1, eval_strategy="steps", eval_steps=4, val_size=0.2)
    path = config(here, tiny_model_dir, "sft", "lora", **keys)
    run("run", path)
    # As if the machine had stopped after the fourth step: later checkpoints and the result are gone.
    run("run", path, "output_dir=resumed")
    for name in ("checkpoint-6", "checkpoint-8"):
        shutil.rmtree(here / "resumed" / name)
    (here / "resumed" / "adapter_model.safetensors").unlink()
    run("run", path, "output_dir=resumed")
    assert losses(here, "resumed") == losses(here)
    one, two = ((here / d / "adapter_model.safetensors").read_bytes() for d in ("out", "resumed"))
    assert one == two


def test_a_replay_is_the_run_again(here, tiny_model_dir):
    run("run", config(here, tiny_model_dir, "sft", "lora", max_steps=3, save_strategy="no"))
    run("replay", "out")
    assert losses(here, "out-replay") == losses(here)


def test_the_picture_and_the_figures_are_there(here, tiny_model_dir):
    run(
        "run",
        config(
            here, tiny_model_dir, "sft", "lora", max_steps=4, plot_loss=True, do_train=True, do_eval=True, val_size=4
        ),
    )
    assert (here / "out" / "training_loss.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((here / "out" / "all_results.json").read_text())["eval_loss"] > 0
    assert json.loads((here / "out" / "ledger.json").read_text())


def test_nothing_is_sent_anywhere(ftk, here, tiny_model_dir):
    """The program in a process whose sockets are blocked and told of."""
    path = config(here, tiny_model_dir, "sft", "lora", max_steps=2, save_strategy="no")
    done = ftk("run", path, HF_HUB_OFFLINE="0")
    assert done.returncode == 0, done.stderr
    assert "SOCKET" not in done.stderr
