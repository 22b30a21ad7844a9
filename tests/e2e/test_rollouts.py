"""Stages that learn from rewards, from a YAML to a model that gets more of them."""

import json
from pathlib import Path

import pytest

from ftk.cli.main import main
from ftk_sdk.tiny import tiny_llama, tiny_tokenizer

QUESTIONS = [{"instruction": f"say {word} {n}", "output": word} for n in range(8) for word in ("fox", "dog")]
REWARD = """
def vowels(completions, **columns):
    return [sum(letter in "aeiou" for letter in text) / max(len(text), 1) for text in completions]
"""
METHODS = {
    "full": "finetuning_type: full\nlearning_rate: 0.01\n",
    "freeze": "finetuning_type: freeze\nfreeze_trainable_layers: 1\nlearning_rate: 0.03\n",
    "lora": "finetuning_type: lora\nlora_rank: 8\nlearning_rate: 0.03\n",
    "dora": "finetuning_type: lora\nlora_rank: 8\nuse_dora: true\nlearning_rate: 0.03\n",
}
STEPS = 40


def run(*words) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(w) for w in words])
    assert not stopped.value.code


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.json").write_text(json.dumps(QUESTIONS))
    (tmp_path / "my_rewards.py").write_text(REWARD)
    return tmp_path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose layers matter: its head is large enough for them to choose a token."""
    folder = tmp_path_factory.mktemp("model")
    small = tiny_llama()
    small.lm_head.weight.data *= 15
    small.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def config(here: Path, model: Path, method: str, **keys) -> Path:
    keys = {"stage": "grpo", "max_steps": STEPS, "save_strategy": "no"} | keys
    more = "".join(f"{key}: {json.dumps(value)}\n" for key, value in keys.items())
    text = (
        f"model_name_or_path: {model}\ntemplate: chatml\ndataset: ./rows.json\n{METHODS[method]}"
        "reward_funcs: my_rewards.py:vowels\nmax_new_tokens: 8\ngrpo_num_generate_samples: 8\n"
        "output_dir: out\nper_device_train_batch_size: 4\ngrpo_micro_batch_size: 32\nlr_scheduler_type: constant\n"
        f"logging_steps: 1\ndisable_gradient_checkpointing: true\n{more}"
    )
    (here / "run.yaml").write_text(text)
    return here / "run.yaml"


def rewards(here: Path, folder: str = "out") -> list[float]:
    lines = (here / folder / "trainer_log.jsonl").read_text().splitlines()
    return [line["reward"] for line in map(json.loads, lines) if "reward" in line]


def rise(values: list[float], ends: int = 5) -> float:
    return (sum(values[-ends:]) - sum(values[:ends])) / ends


@pytest.mark.parametrize("method", METHODS)
def test_the_reward_rises_with_each_method_and_the_result_loads(here, model, method, capsys):
    path = config(here, model, method)
    run("run", path)
    found = rewards(here)
    assert len(found) == STEPS and rise(found) > 0.2, f"the reward went from {found[:5]} to {found[-5:]}"
    capsys.readouterr()
    run("chat", path, "--prompt", "say fox 1", "do_sample=false")
    said = capsys.readouterr().out
    assert sum(letter in "aeiou" for letter in said) >= 0.3 * len(said.strip())


@pytest.mark.parametrize(
    "keys",
    [
        {"stage": "rloo"},
        {"stage": "reinforce_plus_plus"},
        {"grpo_loss": "gspo"},
        {"grpo_loss": "cispo", "grpo_num_iterations": 2, "grpo_epsilon_high": 0.3},
        {"grpo_beta": 0.01, "grpo_loss": "dapo"},
    ],
    ids=lambda keys: "-".join(map(str, keys.values())),
)
def test_the_reward_rises_by_each_method_of_comparison(here, model, keys):
    run("run", config(here, model, "full", **keys))
    found = rewards(here)
    assert rise(found) > 0.2, f"the reward went from {found[:5]} to {found[-5:]}"


def test_a_run_that_goes_on_is_the_run_that_never_stopped(here, model):
    keys = dict(max_steps=6, save_strategy="steps", save_steps=2, lora_dropout=0.1, grpo_num_iterations=3)
    path = config(here, model, "lora", **keys)
    run("run", path)
    run("run", path, "output_dir=resumed")
    for name in ("checkpoint-4", "checkpoint-6", "adapter_model.safetensors"):
        target = here / "resumed" / name
        target.rename(here / f"gone-{name}")
    run("run", path, "output_dir=resumed")
    for name in ("rollouts.jsonl", "adapter_model.safetensors"):
        assert (here / "out" / name).read_bytes() == (here / "resumed" / name).read_bytes()
    assert rewards(here, "resumed") == rewards(here)


def test_a_run_without_a_reward_says_so_and_loads_nothing(ftk, here, model):
    path = config(here, model, "lora")
    path.write_text(path.read_text().replace("reward_funcs: my_rewards.py:vowels\n", ""))
    done = ftk("run", path)
    assert done.returncode == 2
    assert "no reward is named" in done.stderr and "Traceback" not in done.stderr


def test_a_reward_that_fails_says_why_and_what_it_is_given(ftk, here, model):
    (here / "my_rewards.py").write_text("def vowels(completions, answr, **columns): return answr")
    done = ftk("run", config(here, model, "lora"))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "missing 1 required" in done.stderr and "answer" in done.stderr
