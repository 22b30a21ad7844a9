import pytest

from ft_plugin_reward_math import plugin
from ft_plugin_reward_math.reward import math_verify
from ft_plugin_rewards.scoring import Rewards
from ftk.problems import ConfigError
from ftk_sdk.contracts import PluginContract, RewardContract
from ftk_sdk.testing import make_plan, make_run

PARTS = ["addon:rewards", "reward:math_verify"]


class TestPlugin(PluginContract):
    plugin = plugin


class TestReward(RewardContract):
    component = "reward:math_verify"
    good, bad, row = "so it is $0.5$", "so it is $0.6$", {"answer": "1/2"}


@pytest.mark.parametrize(
    ("said", "wanted", "right"),
    [
        ("So the answer is $0.5$.", "\\frac{1}{2}", 1),
        ("\\boxed{\\frac{2}{4}}", "$\\frac{1}{2}$", 1),
        ("It is 1/2.", "0.5", 1),
        ("$x = 3$", "3", 1),
        ("$\\{1, 2\\}$", "\\{2, 1\\}", 1),
        ("72 apples", "so many\n#### 72", 1),
        ("$0.51$", "\\frac{1}{2}", 0),
        ("I do not know", "7", 0),
        ("", "7", 0),
        ("7", None, None),
    ],
)
def test_answers_are_compared_as_expressions(said, wanted, right):
    assert math_verify(completions=[said], answer=[wanted], seconds=3.0) == [right]


def test_a_comparison_that_takes_too_long_is_wrong_and_the_others_are_made():
    slow = "$" + "^".join(["9"] * 6) + "$"
    found = math_verify(completions=[slow, "$7$"], answer=["9^{9^{9^{9^9}}}", "7"], seconds=0.5)
    assert found == [0.0, 1.0]


def test_it_is_a_reward_by_its_name():
    run = make_run({"reward_funcs": ["math_verify"]}, components=PARTS)
    assert Rewards(run).score([[]], ["$4$"], {"answer": ["2+2"]}).totals == [1.0]
    with pytest.raises(ConfigError, match="reward_math_timeout=0"):
        make_plan({"reward_math_timeout": 0}, components=PARTS)
