import math

import pytest
import torch

from ft_plugin_rloo import plugin
from ft_plugin_rloo.advantage import leave_one_out
from ftk_sdk.contracts import PluginContract, StageContract
from ftk_sdk.evidence import checked

from ...grpo.tests.stage_of_groups import EXAMPLE, KEYS, LOSS_ON


class TestPlugin(PluginContract):
    plugin = plugin


class TestStage(StageContract):
    component = "stage:rloo"
    keys, example, loss_on = KEYS, EXAMPLE, LOSS_ON


@checked(stage="rloo", loss="advantage rloo", against="the mean of the others, completion by completion, in float64")
def test_the_baseline_is_the_mean_of_the_others():
    rewards = [[1.0, 0.0, 0.5, 2.0], [3.0, 3.0, 1.0, -1.0]]
    made = leave_one_out(torch.tensor(rewards, dtype=torch.float64)).tolist()
    for row, values in zip(rewards, made, strict=True):
        wanted = [r - (sum(row) - r) / (len(row) - 1) for r in row]
        assert values == pytest.approx(wanted, rel=0, abs=1e-9)


def test_missing_rewards_are_no_others():
    nan = math.nan
    made = leave_one_out(torch.tensor([[1.0, nan, 3.0], [2.0, nan, nan], [1.0, 1.0, 1.0]]))
    assert made[0].tolist()[::2] == [-2, 2] and made[0, 1].isnan()
    assert made[1].isnan().all()
    assert made[2].tolist() == [0, 0, 0]
