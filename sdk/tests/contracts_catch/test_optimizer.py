"""The optimizer contract passes a good optimizer, and each of its assertions catches a broken one."""

import pytest
import torch

from ftk.markers import hookimpl
from ftk_sdk.contracts import OptimizerContract
from ftk_sdk.fakes import installed_with, plugin


class Momentum(torch.optim.Optimizer):
    """Signs of averaged gradients."""

    def __init__(self, params, lr=0.01):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                average = state.setdefault("average", torch.zeros_like(p))
                average.lerp_(p.grad, 0.5)
                p.sub_(average.sign(), alpha=group["lr"])


def trainable(model):
    return [p for p in model.parameters() if p.requires_grad]


class Good:
    @hookimpl
    def ftk_build_optimizer(self, run, model):
        return Momentum(trainable(model))


class TestAGoodOptimizer(OptimizerContract):
    component = "optimizer:good"
    plugins = installed_with(plugin(offers={"optimizer:good": Good}))


class LeavesOneOut(Good):
    @hookimpl
    def ftk_build_optimizer(self, run, model):
        return Momentum(trainable(model)[1:])


class TakesFrozen(Good):
    @hookimpl
    def ftk_build_optimizer(self, run, model):
        return Momentum(model.parameters())


class Nothing(Good):
    @hookimpl
    def ftk_build_optimizer(self, run, model):
        return None


class Uphill(Good):
    @hookimpl
    def ftk_build_optimizer(self, run, model):
        return torch.optim.SGD(trainable(model), lr=0.1, maximize=True)


class Jitter(Momentum):
    calls = 0

    def step(self, closure=None):
        super().step()
        Jitter.calls += 1
        with torch.no_grad():
            self.param_groups[0]["params"][0].add_(1e-6 * Jitter.calls)


class Random(Good):
    @hookimpl
    def ftk_build_optimizer(self, run, model):
        return Jitter(trainable(model))


class FixedRate(Momentum):
    @torch.no_grad()
    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            p.sub_(p.grad, alpha=0.01)


class IgnoresTheRate(Good):
    @hookimpl
    def ftk_build_optimizer(self, run, model):
        return FixedRate(trainable(model))


class Forgetful(Momentum):
    def state_dict(self):
        return {**super().state_dict(), "state": {}}


class ForgetsItsState(Good):
    @hookimpl
    def ftk_build_optimizer(self, run, model):
        return Forgetful(trainable(model))


BROKEN = [
    ("test_each_trainable_parameter_is_in_exactly_one_group", LeavesOneOut, "q_proj.weight is in 0 groups"),
    ("test_each_trainable_parameter_is_in_exactly_one_group", TakesFrozen, "the frozen parameter model.embed_tokens"),
    ("test_it_learns", Nothing, "provides no ftk_build_optimizer"),
    ("test_it_learns", Uphill, "in 8 steps"),
    ("test_it_is_deterministic", Random, "two runs from the same start differ"),
    ("test_a_learning_rate_of_zero_changes_nothing", IgnoresTheRate, "weights moved although the learning rate"),
    ("test_going_on_from_a_saved_state_equals_never_stopping", ForgetsItsState, "differ from 6 steps"),
]


@pytest.mark.parametrize(("method", "broken", "message"), BROKEN)
def test_a_broken_optimizer_is_caught(caught, method, broken, message):
    class Contract(OptimizerContract):
        component = "optimizer:broken"
        plugins = installed_with(plugin(offers={"optimizer:broken": broken}))

    assert message in caught(Contract, method)
