"""What holds for every loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .subject import Subject


class LossContract(Subject):
    """Set ``component`` and ``keys``, and write ``arguments`` and ``reference``."""

    def arguments(self) -> dict[str, torch.Tensor]:
        """Inputs as the stage gives them, in float64; those that training differentiates have ``requires_grad``."""
        raise NotImplementedError

    def reference(self, *args: Any, **arguments: Any) -> torch.Tensor:
        """The same loss, written as plainly as the paper states it."""
        raise NotImplementedError

    def loss(self) -> Callable[..., torch.Tensor]:
        loss = self.run().loss()
        assert callable(loss), f"{self.component} provides no ftk_loss"
        return loss

    def test_it_equals_its_reference(self):
        made, wanted = self.loss()(**self.arguments()), self.reference(**self.arguments())
        assert made.shape == wanted.shape, f"its shape is {tuple(made.shape)}, the reference's {tuple(wanted.shape)}"
        gap = (made - wanted).abs().max().item()
        assert gap < 1e-9, f"it differs from its reference by up to {gap:.3g}"

    def test_it_is_a_pure_function(self):
        given, kept, loss = self.arguments(), self.arguments(), self.loss()
        first = loss(**given)
        for name, value in kept.items():
            assert torch.equal(given[name], value), f"it changes its argument {name}"
        assert torch.equal(first, loss(**given)), "two calls with the same arguments differ"

    def test_its_gradient_is_finite_and_reaches_its_inputs(self):
        given = self.arguments()
        self.loss()(**given).sum().backward()
        for name, value in given.items():
            if value.requires_grad:
                assert value.grad is not None and value.grad.any(), f"no gradient reaches {name}"
                assert value.grad.isfinite().all(), f"the gradient of {name} is not finite"

    def test_its_gradient_is_that_of_its_reference(self):
        made, wanted = self.arguments(), self.arguments()
        self.loss()(**made).sum().backward()
        self.reference(**wanted).sum().backward()
        for name in (name for name, value in made.items() if value.requires_grad):
            one, other = made[name].grad, wanted[name].grad
            assert one is not None and other is not None, f"no gradient reaches {name}"
            gap = (one - other).abs().max().item()
            assert gap < 1e-9, f"the gradient of {name} differs from the reference's by up to {gap:.3g}"
