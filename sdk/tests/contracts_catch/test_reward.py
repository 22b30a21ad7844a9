"""The reward contract passes a good reward, and each of its assertions catches a broken one."""

import pytest

from ftk.markers import hookimpl
from ftk_sdk.contracts import RewardContract
from ftk_sdk.fakes import installed_with, plugin


def polite(*, completions, word, **columns):
    return [float(wanted in text) for text, wanted in zip(completions, word, strict=True)]


def offers(function):
    class Provider:
        @hookimpl
        def ftk_rewards(self):
            return {"made": function}

    needs = ["ftk-kernel>=0.1", "ft-plugin-rewards"]
    return installed_with(plugin(offers={"reward:made": Provider}, requires=needs))


class Polite(RewardContract):
    component = "reward:made"
    good, bad, row = "please do", "do", {"word": "please"}


class TestAGoodReward(Polite):
    plugins = offers(polite)


def reversed_(*, completions, **columns):
    return [-number for number in polite(completions=completions, **columns)]


def ranked(*, completions, **columns):
    return [sorted(completions).index(text) + len(completions) for text in completions]


def strict(*, completions, **columns):
    return [float(text[0] == "p") for text in completions]


def overflows(*, completions, **columns):
    return [float("inf") if len(text) > 100 else len(text) for text in completions]


BROKEN = [
    ("test_what_is_good_gets_more_than_what_is_bad", reversed_, "what is good gets -1.0, what is bad -0.0"),
    ("test_what_is_good_gets_more_than_what_is_bad", lambda *, completions, **_: [None, 1], "it gives None and 1.0"),
    ("test_a_completion_gets_its_number_whatever_the_others_are", ranked, "together they get"),
    ("test_whatever_a_model_says_gets_a_finite_number_or_none", strict, "'' raised IndexError"),
    ("test_whatever_a_model_says_gets_a_finite_number_or_none", overflows, "gets inf"),
]


@pytest.mark.parametrize(("method", "broken", "message"), BROKEN)
def test_a_broken_reward_is_caught(caught, method, broken, message):
    class Contract(Polite):
        plugins = offers(broken)

    assert message in caught(Contract, method)


def test_a_component_with_two_rewards_is_caught(caught):
    class Two:
        @hookimpl
        def ftk_rewards(self):
            return {"one": polite, "two": polite}

    needs = ["ftk-kernel>=0.1", "ft-plugin-rewards"]

    class Contract(Polite):
        plugins = installed_with(plugin(offers={"reward:made": Two}, requires=needs))

    assert "gives the rewards one, two, not one" in caught(Contract, "test_what_is_good_gets_more_than_what_is_bad")
