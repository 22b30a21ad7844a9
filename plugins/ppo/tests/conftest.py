"""A run of a tiny model whose reward is the share of vowels in its answers."""

import json

import pytest

from ftk.execute import start
from ftk_sdk.testing import make_run

SCORES = '''
def vowels(*, completions, **columns):
    """The share of letters that are vowels."""
    return [sum(c in "aeiou" for c in text) / max(len(text), 1) for text in completions]


def sometimes(*, completions, **columns):
    return [None if i % 3 == 0 else float(i % 2) for i, _ in enumerate(completions)]


def never(*, completions, **columns):
    return [None for _ in completions]
'''

PROMPTS = [{"instruction": f"say {word}"} for word in ("fox", "dog", "box", "jug", "name", "hello", "over", "five")]


@pytest.fixture
def ppo(tiny_model_dir, tmp_path):
    """Run it with keys; the log's entries."""
    (tmp_path / "scores.py").write_text(SCORES)
    (tmp_path / "prompts.json").write_text(json.dumps(PROMPTS))

    def run(**keys):
        folder = tmp_path / keys.pop("folder", "out")
        fixed = {
            "stage": "ppo",
            "finetuning_type": "full",
            "template": "chatml",
            "model_name_or_path": str(tiny_model_dir),
            "dataset": str(tmp_path / "prompts.json"),
            "output_dir": str(folder),
            "reward_funcs": [f"{tmp_path / 'scores.py'}:vowels"],
            "max_new_tokens": 8,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 2,
            "save_strategy": "no",
            "logging_steps": 1,
            "lr_scheduler_type": "constant",
            "sort_micro_batches": False,
        }
        start(make_run(fixed | keys))
        lines = map(json.loads, (folder / "trainer_log.jsonl").read_text().splitlines())
        return [line for line in lines if "loss" in line]

    return run
