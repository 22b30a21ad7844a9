"""What holds for every adapter."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from ..tiny import tiny_llama
from .subject import Subject

IDS = torch.arange(48).view(3, 16) % 11


class AdapterContract(Subject):
    """Set ``component``, ``keys`` and ``trains``.

    An adapter that keeps its weights elsewhere than ``save_pretrained`` puts them overrides ``save`` and ``load``; one
    that changes the model's structure and has no ``merge_and_unload`` overrides ``merge``.
    """

    trains: ClassVar[str]
    """Regular expression that finds itself in the name of each parameter that trains, and in no other."""

    def base(self) -> PreTrainedModel:
        """The model that is adapted, always the same."""
        return tiny_llama().eval()

    def begin(self) -> PreTrainedModel:
        torch.manual_seed(0)
        return self.run().adapt_model(self.base())

    def trained(self) -> PreTrainedModel:
        """The adapted model after some steps that change what it says."""
        model = self.begin().train()
        losses = fit(model, steps=6)
        assert losses[-1] < losses[0], f"the loss went from {losses[0]:.4f} to {losses[-1]:.4f} in 6 steps"
        return model.eval()

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        model.save_pretrained(folder)

    def load(self, folder: Path) -> PreTrainedModel:
        """The trained model, from its folder, as a chat with it would have it."""
        if (folder / "adapter_config.json").exists():
            return self.run({"adapter_name_or_path": str(folder)}, action="chat").adapt_model(self.base())
        return self.run(action="chat").adapt_model(AutoModelForCausalLM.from_pretrained(folder))

    def merge(self, model: Any) -> PreTrainedModel:
        """The model in the shape of its base."""
        return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model

    def test_it_trains_what_it_says_and_nothing_else(self):
        names = {name: p.requires_grad for name, p in self.begin().named_parameters()}
        for name, trains in names.items():
            said = bool(re.search(self.trains, name))
            assert trains == said, f"{name} {'trains' if trains else 'does not train'}, against {self.trains!r}"
        assert any(names.values()), "no parameter trains"

    def test_it_starts_as_what_the_base_model_is(self):
        gap = difference(self.begin().eval(), self.base())
        assert gap < 1e-6, f"before any step the logits differ from the base model's by up to {gap:.3g}"

    def test_every_parameter_that_trains_gets_a_gradient(self):
        model: Any = self.begin().train()
        model(input_ids=IDS, labels=IDS).loss.backward()
        without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert not without, f"these train in name only: {', '.join(without)}"

    def test_training_leaves_all_else_as_it_was(self):
        model = self.begin()
        frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
        fit(model.train(), steps=2)
        after = dict(model.named_parameters())
        moved = [name for name, p in frozen.items() if not torch.equal(p, after[name])]
        assert not moved, f"training changed what does not train: {', '.join(moved)}"

    def test_saved_and_loaded_it_is_the_same_model(self, tmp_path):
        model = self.trained()
        self.save(model, tmp_path / "saved")
        gap = difference(model, self.load(tmp_path / "saved").eval())
        assert gap < 1e-5, f"saved and loaded, its logits differ by up to {gap:.3g}"

    def test_merged_it_is_the_same_model_in_the_shape_of_its_base(self):
        model = self.trained()
        before = logits(model)
        merged = self.merge(model).eval()
        names = {name for name, _ in merged.named_parameters()}
        strange = names ^ {name for name, _ in self.base().named_parameters()}
        assert not strange, f"merged, these parameters are not as in the base model: {', '.join(sorted(strange))}"
        gap = (before - logits(merged)).abs().max().item()
        assert gap < 1e-5, f"merged, its logits differ by up to {gap:.3g}"


def fit(model: PreTrainedModel, steps: int) -> list[float]:
    """Train on one batch; the loss before each step."""
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(steps):
        loss = model(input_ids=IDS, labels=IDS).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


@torch.no_grad()
def logits(model: PreTrainedModel) -> torch.Tensor:
    return model(input_ids=IDS).logits


def difference(first: PreTrainedModel, second: PreTrainedModel) -> float:
    return (logits(first) - logits(second)).abs().max().item()
