"""The scheduler contract passes a good schedule, and each of its assertions catches a broken one."""

import pytest
from torch.optim.lr_scheduler import LambdaLR

from ftk.markers import hookimpl
from ftk_sdk.contracts import SchedulerContract
from ftk_sdk.fakes import installed_with, plugin


class Halving:
    @hookimpl
    def ftk_build_scheduler(self, run, optimizer, steps):
        return LambdaLR(optimizer, lambda step: 0.5**step)


class TestAGoodSchedule(SchedulerContract):
    component = "scheduler:halving"
    plugins = installed_with(plugin(offers={"scheduler:halving": Halving}))


class Absent:
    @hookimpl
    def ftk_build_scheduler(self, run, optimizer, steps):
        return None


class Negative:
    @hookimpl
    def ftk_build_scheduler(self, run, optimizer, steps):
        return LambdaLR(optimizer, lambda step: 1 - step)


class Zero:
    @hookimpl
    def ftk_build_scheduler(self, run, optimizer, steps):
        return LambdaLR(optimizer, lambda step: 0.0)


class Counting:
    """Keeps its place where no state_dict sees it."""

    @hookimpl
    def ftk_build_scheduler(self, run, optimizer, steps):
        places = iter(range(10_000))
        return LambdaLR(optimizer, lambda step: 0.5 ** next(places))


BROKEN = [
    ("test_every_rate_is_finite_and_between_zero_and_the_learning_rate", Absent, "provides no ftk_build_scheduler"),
    ("test_every_rate_is_finite_and_between_zero_and_the_learning_rate", Negative, "the rate of step 2 of 20 is -0.1"),
    ("test_some_step_learns", Zero, "the rate is 0 all the time"),
    ("test_going_on_from_a_saved_state_equals_never_stopping", Counting, "with a restart at step 10"),
]


@pytest.mark.parametrize(("method", "broken", "message"), BROKEN)
def test_a_broken_schedule_is_caught(caught, method, broken, message):
    class Contract(SchedulerContract):
        component = "scheduler:broken"
        plugins = installed_with(plugin(offers={"scheduler:broken": broken}))

    fixtures = {"steps": 20} if "every_rate" in method else {}
    assert message in caught(Contract, method, **fixtures)
