"""What holds for every optimizer."""

from __future__ import annotations

import io
from typing import Any

import torch

from ..tiny import tiny_llama
from .subject import Subject


class OptimizerContract(Subject):
    """Set ``component`` and ``keys``. The learning rate should move a tiny model within a few steps."""

    def model(self) -> torch.nn.Module:
        """A small model, always the same, with one frozen parameter."""
        model = tiny_llama(layers=1, vocab_size=64)
        model.model.embed_tokens.requires_grad_(False)
        return model

    def begin(self) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        model = self.model()
        torch.manual_seed(0)
        optimizer = self.run().build_optimizer(model)
        assert optimizer is not None, f"{self.component} provides no ftk_build_optimizer"
        return model, optimizer

    def train(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
        """The loss before each step, always on the same batch."""
        ids = torch.arange(48).view(3, 16) % 11
        losses = []
        for _ in range(steps):
            loss = model(input_ids=ids, labels=ids).loss
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return losses

    def test_each_trainable_parameter_is_in_exactly_one_group(self):
        model, optimizer = self.begin()
        grouped = [id(p) for group in optimizer.param_groups for p in group["params"]]
        for name, p in model.named_parameters():
            times = grouped.count(id(p))
            wanted = int(p.requires_grad)
            kind = "trainable" if wanted else "frozen"
            assert times == wanted, f"the {kind} parameter {name} is in {times} groups"

    def test_it_learns(self):
        losses = self.train(*self.begin(), steps=8)
        assert losses[-1] < losses[0], f"the loss went from {losses[0]:.4f} to {losses[-1]:.4f} in 8 steps"

    def test_it_is_deterministic(self):
        (first, one), (second, two) = self.begin(), self.begin()
        self.train(first, one, steps=4)
        self.train(second, two, steps=4)
        assert_same(first, second, "two runs from the same start differ")

    def test_a_learning_rate_of_zero_changes_nothing(self):
        model, optimizer = self.begin()
        for group in optimizer.param_groups:
            assert "lr" in group, "a group has no 'lr', so schedules cannot reach it"
            group["lr"] = 0.0
        self.train(model, optimizer, steps=2)
        assert_same(model, self.model(), "weights moved although the learning rate of every group was 0")

    def test_going_on_from_a_saved_state_equals_never_stopping(self):
        straight, optimizer = self.begin()
        self.train(straight, optimizer, steps=6)
        stopped, optimizer = self.begin()
        self.train(stopped, optimizer, steps=3)
        weights, state = saved(stopped.state_dict()), saved(optimizer.state_dict())
        resumed, optimizer = self.begin()
        resumed.load_state_dict(weights)
        optimizer.load_state_dict(state)
        self.train(resumed, optimizer, steps=3)
        assert_same(straight, resumed, "3 steps, a restart and 3 more steps differ from 6 steps")


def saved(state: dict[str, Any]) -> dict[str, Any]:
    """The state after a round trip through a file, read as a checkpoint is: weights only, no pickled objects."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def assert_same(first: torch.nn.Module, second: torch.nn.Module, message: str) -> None:
    """Bit for bit."""
    theirs = dict(second.named_parameters())
    for name, p in first.named_parameters():
        gap = (p - theirs[name]).abs().max().item()
        assert torch.equal(p, theirs[name]), f"{message}: {name} by up to {gap:.3g}"
