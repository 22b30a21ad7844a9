"""The loss contract passes a good loss, and each of its assertions catches a broken one."""

import pytest
import torch

from ftk.markers import hookimpl
from ftk_sdk.contracts import LossContract
from ftk_sdk.fakes import installed_with, plugin


class Square:
    @hookimpl
    def ftk_loss(self, run):
        return lambda logprobs: logprobs**2


class SquareContract(LossContract):
    def arguments(self):
        return {"logprobs": torch.tensor([-0.5, -2.0, -0.1], dtype=torch.float64, requires_grad=True)}

    def reference(self, logprobs):
        return torch.stack([p * p for p in logprobs])


class TestAGoodLoss(SquareContract):
    component = "loss:square"
    plugins = installed_with(plugin(offers={"loss:square": Square}))


class Absent:
    @hookimpl
    def ftk_loss(self, run):
        return None


class Cube:
    @hookimpl
    def ftk_loss(self, run):
        return lambda logprobs: logprobs**3


class Mean:
    @hookimpl
    def ftk_loss(self, run):
        return lambda logprobs: (logprobs**2).mean()


class Overwrites:
    @hookimpl
    def ftk_loss(self, run):
        return lambda logprobs: logprobs.data.mul_(-1) ** 2


class Random:
    @hookimpl
    def ftk_loss(self, run):
        return lambda logprobs: logprobs**2 + torch.rand(3)


class Detached:
    @hookimpl
    def ftk_loss(self, run):
        return lambda logprobs: logprobs.detach() ** 2 + 0 * logprobs


class Infinite:
    @hookimpl
    def ftk_loss(self, run):
        return lambda logprobs: (logprobs - logprobs.detach()).abs().sqrt()


class HalfDetached:
    @hookimpl
    def ftk_loss(self, run):
        return lambda logprobs: logprobs.detach() * logprobs


BROKEN = [
    ("test_it_equals_its_reference", Absent, "provides no ftk_loss"),
    ("test_it_equals_its_reference", Cube, "it differs from its reference by up to 12"),
    ("test_it_equals_its_reference", Mean, "its shape is (), the reference's (3,)"),
    ("test_it_is_a_pure_function", Overwrites, "it changes its argument logprobs"),
    ("test_it_is_a_pure_function", Random, "two calls with the same arguments differ"),
    ("test_its_gradient_is_finite_and_reaches_its_inputs", Detached, "no gradient reaches logprobs"),
    ("test_its_gradient_is_finite_and_reaches_its_inputs", Infinite, "the gradient of logprobs is not finite"),
    ("test_its_gradient_is_that_of_its_reference", HalfDetached, "the gradient of logprobs differs"),
]


@pytest.mark.parametrize(("method", "broken", "message"), BROKEN)
def test_a_broken_loss_is_caught(caught, method, broken, message):
    class Contract(SquareContract):
        component = "loss:broken"
        plugins = installed_with(plugin(offers={"loss:broken": broken}))

    assert message in caught(Contract, method)
