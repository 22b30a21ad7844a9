"""What a stage trains beside the model, and what else it keeps in checkpoints."""

import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM

from ft_plugin_trainer.modules import attach, load, save
from ft_plugin_trainer.objective import NextToken
from ftk.problems import RunError
from ftk_sdk.tiny import tiny_llama

SAVING = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4, "per_device_train_batch_size": 4}


class WithScale(NextToken):
    """Multiplies the loss by a trained number that grows, and counts its training batches."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Linear(1, 1, bias=False, dtype=torch.float64)
        nn.init.ones_(self.scale.weight)
        self.seen = torch.zeros((), dtype=torch.long)

    def modules(self):
        return {"loss_scale": self.scale}

    def state(self):
        return {"seen": self.seen}

    def restore(self, state):
        self.seen = state["seen"]

    def sums(self, model, batch):
        self.seen = self.seen + model.training
        sums = super().sums(model, batch)
        loss, count = sums["loss"]
        return {**sums, "loss": (loss * self.scale.weight.sum() * (1 + self.seen / 10), count)}


def model_of(method):
    model = tiny_llama(dtype=torch.float64)
    return get_peft_model(model, LoraConfig(target_modules=["q_proj"])) if method == "lora" else model


def losses(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_it_trains_and_a_resumed_run_is_the_one_that_never_stopped(bench, method):
    straight = bench.trainer(model=model_of(method), objective=WithScale(), **SAVING)
    straight.train()
    folder = bench.folder / "out"
    assert set(names_of(folder)) > {"loss_scale.safetensors"}
    assert not set(names_of(folder)) & {"objective-0.safetensors"}
    assert {"loss_scale.safetensors", "objective-0.safetensors"} <= set(names_of(folder / "checkpoint-2"))
    (saved,) = load_file(folder / "loss_scale.safetensors").values()
    assert saved.item() == straight.objective.scale.weight.item() != 1

    resumed = bench.folder / "resumed"
    shutil.copytree(folder / "checkpoint-2", resumed / "checkpoint-2")
    again = bench.trainer(model=model_of(method), objective=WithScale(), **SAVING, output_dir=str(resumed))
    again.train()
    assert losses(again) == losses(straight)
    assert load_file(resumed / "loss_scale.safetensors")["weight"].item() == saved.item()


def names_of(folder):
    return [path.name for path in folder.iterdir()]


def test_the_models_own_files_know_nothing_of_it(bench, caplog):
    trainer = bench.trainer(objective=WithScale(), **SAVING)
    trainer.train()
    _, info = AutoModelForCausalLM.from_pretrained(bench.folder / "out", output_loading_info=True)
    assert not info["unexpected_keys"] and not info["missing_keys"]
    result = trainer.model.load_state_dict(trainer.model.state_dict())
    assert not result.missing_keys and not result.unexpected_keys


def test_its_gradient_is_clipped_with_the_models(bench):
    trainer = bench.trainer(objective=WithScale(), max_grad_norm=1e-9, learning_rate=1.0, optim="sgd", max_steps=1)
    trainer.train()
    assert abs(trainer.objective.scale.weight.item() - 1) < 1e-8


def test_a_name_that_the_model_uses_is_refused():
    with pytest.raises(ValueError, match="has an attribute 'lm_head'"):
        attach(tiny_llama(), {"lm_head": nn.Linear(1, 1)})


def test_a_file_that_is_absent_or_does_not_fit_is_named(tmp_path):
    with pytest.raises(RunError, match="has no head.safetensors"):
        load({"head": nn.Linear(2, 1)}, tmp_path)
    save({"head": nn.Linear(3, 1)}, tmp_path)
    with pytest.raises(RunError, match="does not fit: size mismatch"):
        load({"head": nn.Linear(2, 1)}, tmp_path)
    (tmp_path / "head.safetensors").write_bytes(b"no")
    with pytest.raises(RunError, match=r"head.safetensors' does not fit"):
        load({"head": nn.Linear(2, 1)}, tmp_path)
