import json
import logging
import math
import re
import threading
import time

import pytest

from ft_plugin_rewards import plugin
from ft_plugin_rewards.exact_answer import agree, exact_answer
from ft_plugin_rewards.format import matches
from ft_plugin_rewards.json_schema import fits
from ft_plugin_rewards.length import shortness
from ft_plugin_rewards.scoring import Rewards, Scores, TookTooLong, at_most
from ftk.problems import ConfigError, RunError
from ftk_sdk.contracts import AddonContract, PluginContract, RewardContract
from ftk_sdk.testing import make_plan, make_run

PROMPTS = [[{"role": "user", "content": "what is 2 and 3"}]] * 3


class TestPlugin(PluginContract):
    plugin = plugin


class TestRewards(AddonContract):
    component = "addon:rewards"
    keys = {"stage": "grpo", "reward_funcs": ["length"]}


class TestExactAnswer(RewardContract):
    component = "reward:exact_answer"
    good, bad, row = "it is 5", "it is 6", {"answer": "5"}


class TestFormat(RewardContract):
    component = "reward:format"
    good, bad = "<think>so</think> 5", "5"


class TestLength(RewardContract):
    component = "reward:length"
    good, bad = "short", "long " * 100


class TestJsonSchema(RewardContract):
    component = "reward:json_schema"
    good, bad, row = "[3]", "{}", {"schema": {"type": "array"}}


def score(tmp_path, code: str, completions=("a", "bb", "ccc"), columns=None, **keys) -> Scores:
    return rewards_of(tmp_path, code, **keys).score(PROMPTS[: len(completions)], completions, columns or {})


def rewards_of(tmp_path, code: str, **keys) -> Rewards:
    (tmp_path / "mine.py").write_text(code)
    run = make_run({"reward_funcs": [f"{tmp_path}/mine.py:score"], **keys}, components=["addon:rewards"])
    return Rewards(run)


def test_a_function_of_the_user_is_given_everything_by_name(tmp_path):
    code = "def score(prompts, completions, level, **more):\n"
    code += "    assert prompts[0][0]['content'] == 'what is 2 and 3' and 'other' in more\n"
    code += "    return [len(c) * n for c, n in zip(completions, level)]\n"
    assert score(tmp_path, code, columns={"level": [1, 2, 3], "other": [0] * 3}).totals == [1, 4, 9]


def test_two_files_may_have_one_name(tmp_path):
    files = []
    for name, value in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "r.py").write_text(f"def f(completions, **_): return [{value}] * len(completions)")
        files.append(f"{tmp_path}/{name}/r.py:f")
    run = make_run({"reward_funcs": files, "reward_weights": [10.0, 0.5]}, components=["addon:rewards"])
    scores = Rewards(run).score(PROMPTS, ["a"] * 3, {})
    assert scores.totals == [11, 11, 11]
    assert list(scores.parts) == files


def test_a_function_is_called_by_its_file_and_name_in_the_log(tmp_path):
    assert list(score(tmp_path, "def score(completions, **_): return [1, 2, 3]").parts) == ["mine:score"]


def test_a_number_that_is_none_is_counted_where_it_is_and_costs_the_others_nothing(tmp_path):
    given = "def score(completions, **_): return [1.5, float('nan'), None]"
    scores = score(tmp_path, given)
    assert scores.totals[0] == 1.5 and math.isnan(scores.totals[1]) and math.isnan(scores.totals[2])
    assert list(scores.failures.values()) == [1]


@pytest.mark.parametrize("value", ["'high'", "float('inf')", "[1]", "{}"])
def test_what_is_no_finite_number_is_a_failure(tmp_path, value):
    assert list(score(tmp_path, f"def score(completions, **_): return [1, 2, {value}]").failures.values()) == [1]


def test_numbers_of_libraries_and_truth_values_are_numbers(tmp_path):
    code = "import torch\ndef score(completions, **_): return torch.tensor([True, False, True])"
    assert score(tmp_path, code).totals == [1, 0, 1]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("raise KeyError('answer')", "KeyError: 'answer'"),
        ("return [1.0]", "it gave 1 numbers for 3 completions"),
        ("return None", "TypeError"),
        ("return ['a', 'b', 'c']", "no finite number"),
        ("[0 for _ in iter(int, 1)]", "longer than reward_timeout"),
    ],
)
def test_a_reward_that_has_never_worked_ends_the_run_and_one_that_has_is_counted(tmp_path, caplog, body, why):
    code = f"calls = 0\ndef score(completions, **_):\n    global calls\n    calls += 1\n    if calls > skip: {body}\n"
    code += "    return [1.0] * len(completions)\n"
    with pytest.raises(RunError, match=re.escape(why)):
        score(tmp_path, code + "skip = 0", reward_timeout=0.2)
    rewards = rewards_of(tmp_path, code + "skip = 1", reward_timeout=0.2)
    with caplog.at_level(logging.WARNING, "ftk"):
        rewards.score(PROMPTS, ["a"] * 3, {})
        for _ in range(2):
            scores = rewards.score(PROMPTS, ["a"] * 3, {})
    assert all(map(math.isnan, scores.totals)) and list(scores.failures.values()) == [3]
    assert sum(why in record.getMessage() for record in caplog.records) == 1


def test_a_limit_of_time_stops_a_regular_expression_that_never_ends(tmp_path):
    code = (
        "import re\ndef score(completions, **_):\n    try: re.match('(a+)+b', 'a' * 40)\n    except Exception: pass\n"
    )
    began = time.monotonic()
    with pytest.raises(RunError, match="longer than"):
        score(tmp_path, code, reward_timeout=0.3)
    assert time.monotonic() - began < 5


def test_a_limit_within_another_leaves_the_outer_one_running():
    inner = []
    with pytest.raises(TookTooLong), at_most(0.4):
        for seconds in (0.1, 9.0):
            try:
                with at_most(seconds):
                    time.sleep(2)
            except TookTooLong:
                inner.append(seconds)
        time.sleep(2)
    assert inner == [0.1, 9.0]


def test_a_limit_of_time_that_cannot_be_kept_is_refused(tmp_path):
    found = []

    def elsewhere():
        try:
            rewards_of(tmp_path, "def score(**_): pass")
        except RunError as e:
            found.append(str(e))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "reward_timeout needs the main thread" in found[0]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "no reward is named"),
        ({"reward_funcs": ["nowhere.py:score"]}, "cannot be read"),
        ({"reward_funcs": ["mine.py:nothing"]}, "has no function 'nothing'"),
        ({"reward_funcs": ["broken.py:score"]}, "is no Python"),
        ({"reward_funcs": ["mine.txt:score"]}, "names no function of a file"),
        ({"reward_funcs": ["mine.py:score"] * 2}, "twice"),
        ({"reward_funcs": ["mine.py:score"], "reward_weights": [1.0, 2.0]}, "2 numbers for 1 reward_funcs"),
        ({"reward_funcs": ["mine.py:score"], "reward_weights": [math.nan]}, "not all finite"),
        ({"reward_funcs": ["mine.py:score"], "reward_timeout": -1}, "is negative"),
        ({"reward_funcs": ["mine.py:score"], "rewards_format": "("}, "no regular expression"),
        ({"reward_funcs": ["mine.py:score"], "rewards_length": 0}, "not positive"),
    ],
)
def test_bad_keys_are_told_of_while_planning(tmp_path, monkeypatch, keys, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def score(**_): pass")
    (tmp_path / "broken.py").write_text("def score(:")
    try:
        problems = make_plan(keys, components=["addon:rewards"]).problems
    except ConfigError as e:
        problems = e.problems
    assert any(message in str(problem) for problem in problems), problems


def test_a_name_that_no_package_offers_is_named_with_its_neighbour():
    with pytest.raises(ConfigError, match="did you mean 'exact_answer'"):
        make_plan({"reward_funcs": ["exact_anwser"]})


def test_a_file_that_fails_when_imported_is_an_error_without_a_traceback(tmp_path):
    with pytest.raises(RunError, match="fails when imported: ZeroDivisionError"):
        rewards_of(tmp_path, "1 / 0\ndef score(**_): pass")


@pytest.mark.parametrize(
    ("said", "wanted", "right"),
    [
        ("The answer is 1,234.50.", "1234.5", True),
        ("first 7, then 8", "7", False),
        ("so 3/4 of it", "0.75", True),
        ("\\boxed{42} and 43 more", "42", True),
        ("<answer> 12 apples </answer> 13", "12", True),
        ("<answer>12 or 13</answer>", "13", False),
        ("reason\n#### 72", "steps 1 2\n#### 72", True),
        ("it is -5", "5", False),
        ("The Paris.", "the paris", True),
        ("<answer>Paris</answer>", "Paris", True),
        ("In Paris", "Paris", False),
        ("1/0", "1", False),
        ("", "0", False),
        ("50%", "50", True),
    ],
)
def test_answers_agree_as_numbers_or_as_words(said, wanted, right):
    assert agree(said, wanted) is right


def test_a_row_without_an_answer_is_not_scored():
    assert exact_answer(completions=["5", "5"], answer=[None, 5]) == [None, 1.0]


def test_the_format_is_that_of_the_whole_completion():
    wanted = re.compile(r"<think>.*?</think>\s*\S.*", re.DOTALL)
    texts = [" <think>a\nb</think>\n5 \n", "5 <think></think> 5", "<think>a</think> ", "<think>a 5"]
    assert matches(completions=texts, wanted=wanted) == [1, 0, 0, 0]


def test_length_falls_to_zero_at_twice_the_limit_and_is_zero_without_an_end():
    texts = ["a" * 4, "a" * 8, "a" * 12, "a" * 40, "a"]
    found = shortness(completions=texts, finished=[True] * 4 + [False], limit=8)
    assert found == [1, 1, 0.5, 0, 0]


def test_json_is_checked_by_the_rows_schema_or_the_files():
    schema = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
    texts = ['{"name": "fox"}', 'so:\n```json\n{"name": "fox"}\n```', '{"name": 3}', "fox", "[" * 100000]
    assert fits(completions=texts, default=schema) == [1, 1, 0, 0, 0]
    assert fits(completions=["3", "3", "3"], default=None, schema=[{"type": "integer"}, None, '{"type": "null"}']) == [
        1,
        None,
        0,
    ]


def test_a_schema_that_is_none_is_told_of(tmp_path):
    (tmp_path / "schema.json").write_text(json.dumps({"type": "nothing"}))
    keys = {"reward_funcs": ["json_schema"], "rewards_schema": str(tmp_path / "schema.json")}
    with pytest.raises(RunError, match="is no JSON schema"):
        Rewards(make_run(keys, components=["addon:rewards", "reward:json_schema"]))


def test_built_in_rewards_are_in_the_plan_by_their_names():
    keys = {"reward_funcs": ["exact_answer", "length"], "reward_weights": [1.0, 0.5], "rewards_length": 1}
    run = make_run(keys, components=["addon:rewards", "reward:exact_answer", "reward:length"])
    scores = Rewards(run).score(PROMPTS[:2], ["5", "6"], {"answer": ["5", "5"], "finished": [True, False]})
    assert scores.totals == [1.5, 0.0]
