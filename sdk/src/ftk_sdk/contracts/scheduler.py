"""What holds for every learning-rate schedule."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from .subject import Subject


class SchedulerContract(Subject):
    """Set ``component`` and ``keys``. ``steps`` is the length of the run that it is tried with."""

    steps = 20
    learning_rate = 0.1

    def begin(self, steps: int) -> tuple[torch.optim.Optimizer, Any]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=self.learning_rate)
        scheduler = self.run().build_scheduler(optimizer, steps)
        assert scheduler is not None, f"{self.component} provides no ftk_build_scheduler"
        return optimizer, scheduler

    def rates(self, optimizer: torch.optim.Optimizer, scheduler: Any, steps: int) -> list[float]:
        """The learning rate of each of the next steps."""
        out = []
        for _ in range(steps):
            out.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return out

    @pytest.mark.parametrize("steps", [1, 2, 20])
    def test_every_rate_is_finite_and_between_zero_and_the_learning_rate(self, steps):
        for i, rate in enumerate(self.rates(*self.begin(steps), steps=steps)):
            fits = math.isfinite(rate) and 0 <= rate <= self.learning_rate * (1 + 1e-9)
            assert fits, f"the rate of step {i} of {steps} is {rate}, with learning_rate {self.learning_rate}"

    def test_some_step_learns(self):
        assert max(self.rates(*self.begin(self.steps), steps=self.steps)) > 0, "the rate is 0 all the time"

    def test_going_on_from_a_saved_state_equals_never_stopping(self):
        straight = self.rates(*self.begin(self.steps), steps=self.steps)
        optimizer, scheduler = self.begin(self.steps)
        half = self.steps // 2
        first = self.rates(optimizer, scheduler, half)
        weights, state = optimizer.state_dict(), scheduler.state_dict()
        optimizer, scheduler = self.begin(self.steps)
        optimizer.load_state_dict(weights)
        scheduler.load_state_dict(state)
        resumed = first + self.rates(optimizer, scheduler, self.steps - half)
        assert resumed == straight, f"with a restart at step {half} the rates are {resumed}, without {straight}"
