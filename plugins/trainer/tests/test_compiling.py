"""Compiled layers compute what the model computes."""

import shutil

import pytest
import torch
from torch._dynamo.utils import counters

from ft_plugin_trainer.compiling import compile_layers
from ft_plugin_trainer.config import TrainerConfig
from ftk.problems import RunError
from ftk_sdk.tiny import tiny_llama

STEPS = {"max_steps": 3, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "learning_rate": 1e-2}


@pytest.fixture(autouse=True)
def compiler():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def losses(bench, **keys):
    trainer = bench.trainer(**(STEPS | keys))
    trainer.train()
    return [entry[name] for entry in trainer.state.log_history for name in ("loss", "eval_loss") if name in entry]


@pytest.mark.parametrize("more", [{}, {"activation_checkpointing": True}], ids=["", "recomputed"])
def test_compiled_layers_give_the_same_losses(bench, more):
    more |= {"eval_rows": bench.rows(5), "eval_strategy": "steps", "eval_steps": 1}
    plain = losses(bench, **more)
    compiled = losses(bench, torch_compile_backend="eager", **more)
    assert counters["stats"]["unique_graphs"] > 0
    assert compiled == pytest.approx(plain, rel=1e-12)


@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor writes C++ for a CPU")
def test_the_default_compiler_gives_the_same_losses(bench):
    plain, compiled = (
        losses(bench, model=tiny_llama(layers=1), rows=bench.rows(1) * 16, max_steps=2, **keys)
        for keys in ({}, {"torch_compile": True})
    )
    assert compiled == pytest.approx(plain, rel=1e-4)
    assert counters["stats"]["unique_graphs"] > 0


def test_compiling_changes_no_name_of_the_weights_and_no_generated_token():
    model = tiny_llama(dtype=torch.float64).eval()
    names, prompt = list(model.state_dict()), torch.tensor([[5, 6, 7]])
    before = model.generate(prompt, max_new_tokens=5, do_sample=False)
    assert compile_layers(model, TrainerConfig(torch_compile_backend="eager")) == len(model.model.layers)
    assert list(model.state_dict()) == names
    assert model.generate(prompt, max_new_tokens=5, do_sample=False).tolist() == before.tolist()
    assert counters["stats"]["unique_graphs"] == 0, "layers with a cache are not compiled"


def test_a_compiler_that_is_not_there_is_named(bench, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RunError, match="there is no 'no-such-compiler'"):
        bench.trainer(**STEPS, torch_compile=True).train()


def test_a_backend_that_is_not_there_is_told(bench):
    with pytest.raises(RunError, match="torch_compile"):
        bench.trainer(**STEPS, torch_compile_backend="no_such_backend").train()
