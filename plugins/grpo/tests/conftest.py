"""Runs whose completions are given: what is compared is what is learnt from them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from ftk.discover import Installed
from ftk.execute import start
from ftk.markers import hookimpl
from ftk_sdk.fakes import installed_with, plugin
from ftk_sdk.testing import make_run
from ftk_sdk.tiny import tiny_llama, tiny_tokenizer

QUESTIONS = [f"say the word {word} {n}" for n in range(4) for word in ("fox", "dog")]


def canned(prompt: list[int], number: int) -> list[int]:
    """The same completion for the same prompt and number: 1 to 7 tokens, most of them with an end."""
    digest = hashlib.sha256(repr((prompt, number)).encode()).digest()
    ids = [10 + byte for byte in digest[: 1 + digest[0] % 6]]
    return ids if digest[1] % 4 == 0 else [*ids, 2]


def score(completions, **columns) -> list[float]:
    """Some number that depends on the text."""
    return [sum(map(ord, text)) % 17 / 7 for text in completions]


class Canned:
    @hookimpl
    def ftk_rollout_engine(self):
        return self

    def generate(self, model, prompts, sampling, *, step, seed):
        seen: dict[tuple, int] = {}
        made = []
        for prompt in prompts:
            number = seen[tuple(prompt)] = seen.get(tuple(prompt), -1) + 1
            made.append(canned(prompt, number))
        return made


class Scored:
    @hookimpl
    def ftk_rewards(self):
        return {"canned": score}


def prepared(folder: Path, questions: list[str]) -> Installed:
    """A model and data in the folder, and everything that is installed with the two components from above."""
    tiny_llama(dtype=torch.float64, seed=3).save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    rows = [{"messages": [{"role": "user", "content": text}]} for text in questions]
    (folder / "rows.json").write_text(json.dumps(rows))
    return installed_with(plugin("canned", offers={"rollout-engine:canned": Canned, "reward:canned": Scored}))


def keys_for(folder: Path) -> dict:
    return {
        "stage": "grpo",
        "finetuning_type": "full",
        "model_name_or_path": str(folder / "model"),
        "model_dtype": "float64",
        "template": "chatml",
        "dataset": str(folder / "rows.json"),
        "rollouts_engine": "canned",
        "reward_funcs": ["canned"],
        "grpo_num_generate_samples": 4,
        "per_device_train_batch_size": 2,
        "max_new_tokens": 8,
        "max_steps": 3,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_shuffling": True,
        "disable_gradient_checkpointing": True,
    }


@pytest.fixture
def bench(tmp_path):
    """``bench(grpo_loss="dapo", ...)``: train, in float64 and in order; the folder of the result."""
    installed = prepared(tmp_path, QUESTIONS)

    def train(found=installed, **keys) -> Path:
        folder = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        run = make_run({**keys_for(tmp_path), "output_dir": str(folder), **keys}, plugins=found)
        start(run)
        return run.output_dir

    train.folder, train.plugins = tmp_path, installed
    train.questions, train.canned, train.score = QUESTIONS, canned, score
    return train
