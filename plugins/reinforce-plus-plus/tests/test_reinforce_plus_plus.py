import math
import statistics

import pytest
import torch

from ft_plugin_reinforce_plus_plus import plugin
from ft_plugin_reinforce_plus_plus.advantage import normalised
from ftk_sdk.contracts import PluginContract, StageContract
from ftk_sdk.evidence import checked

from ...grpo.tests.stage_of_groups import EXAMPLE, KEYS, LOSS_ON


class TestPlugin(PluginContract):
    plugin = plugin


class TestStage(StageContract):
    component = "stage:reinforce_plus_plus"
    keys, example, loss_on = KEYS, EXAMPLE, LOSS_ON


@checked(stage="reinforce_plus_plus", loss="advantage reinforce_plus_plus", against="Python's statistics, in float64")
def test_advantages_have_the_deviation_of_the_whole_batch():
    rewards = [[1.0, 0.0, 0.5, 2.0], [3.0, 3.0, 1.0, -1.0]]
    centred = [[r - statistics.mean(row) for r in row] for row in rewards]
    by = statistics.stdev(centred[0] + centred[1]) + 1e-4
    made = normalised(torch.tensor(rewards, dtype=torch.float64)).tolist()
    for row, values in zip(centred, made, strict=True):
        assert values == pytest.approx([r / by for r in row], rel=0, abs=1e-9)


def test_equal_rewards_give_no_advantage_and_missing_ones_are_left_out():
    assert normalised(torch.ones(2, 3)).abs().max() == 0
    made = normalised(torch.tensor([[1.0, math.nan, 3.0]]))
    assert made[0, 0] == -made[0, 2] and made[0, 1].isnan()
