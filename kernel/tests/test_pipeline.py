"""Several runs in one file: what each step's keys are, and what it goes on from."""

import pytest

from ftk.compose import compose
from ftk.load import Raw, parse_overrides, parse_yaml
from ftk.pipeline import is_pipeline, plan_steps
from ftk.plan import resolve_plan
from ftk.problems import ConfigError, Problem
from ftk.section import section
from ftk.settings import RunConfig


@section("base")
class Base:
    base: str = "start"
    adapters: list[str] | None = None
    rank: int = 8


@section("export", enabled_by="export_dir", late=True)
class Export:
    export_dir: str | None = None


@section("data")
class Data:
    dataset: str | None = None


@pytest.fixture
def steps(plugin, install, component):
    """``steps(yaml, "key=value")``: the pipeline of a small set of plugins, in which stages hand on their weights."""

    def weights(plan):
        return {"base": plan.config[RunConfig].output_dir} if plan.action == "train" else {}

    parts = [
        component("loader:x", default=True),
        component("template:x", default=True),
        component("adapter:full", default=True),
        component("stage:first"),
        component("stage:second"),
        component("exporter:merge", section="export"),
    ]

    def absent(plan):
        return [Problem("missing", f"{plan.config[Base].base} is not there", key="base")]

    hooks = {"ftk_hand_on": weights, "ftk_check": absent}
    found = install(plugin("ft-plugin-all", components=parts, sections=[Base, Export, Data], **hooks))

    def planner(raw, action):
        config, warnings = compose(raw, found.index, keep_going=True)
        return resolve_plan(config, found, action, warnings=warnings)

    def make(text, *overrides):
        return plan_steps(parse_yaml(text, "p.yaml"), parse_overrides(overrides), planner)

    return make


TWO = """\
output_dir: out
rank: 4
pipeline:
- stage: first
- stage: second
  rank: 2
"""


def test_a_step_has_the_files_keys_its_own_and_a_folder(steps):
    one, two = steps(TWO).steps
    assert (one.name, two.name) == ("first", "second")
    assert [step.plan.config[Base].rank for step in (one, two)] == [4, 2]
    assert [step.plan.config[RunConfig].output_dir for step in (one, two)] == ["out/1-first", "out/2-second"]


def test_a_step_goes_on_from_the_one_before(steps):
    one, two = steps(TWO).steps
    assert one.plan.config[Base].base == "start"
    assert two.plan.config[Base].base == "out/1-first"


def test_what_an_earlier_step_has_yet_to_make_is_not_called_missing(steps):
    one, two = steps(TWO + "base: x\n").steps
    assert [p.message for p in one.open_problems()] == ["x is not there"]
    assert [p.level for p in two.plan.problems] == ["missing"] and two.open_problems() == []


def test_a_step_that_names_where_it_begins_is_handed_nothing(steps):
    _, two = steps(TWO + "  base: elsewhere\n").steps
    assert two.plan.config[Base].base == "elsewhere"


def test_the_command_line_replaces_keys_of_every_step_and_the_folder_of_all(steps):
    pipeline = steps(TWO, "rank=1", "output_dir=other")
    assert [step.plan.config[Base].rank for step in pipeline.steps] == [1, 1]
    assert [step.plan.config[RunConfig].output_dir for step in pipeline.steps] == ["other/1-first", "other/2-second"]


def test_an_export_is_of_the_step_before_with_its_keys(steps):
    *_, two, export = steps(TWO + "- export_dir: merged\n").steps
    assert (export.name, export.plan.action) == ("export", "export")
    assert export.plan.config[Base].rank == 2
    assert export.plan.config[Base].base == two.plan.config[RunConfig].output_dir
    assert export.plan.config[RunConfig].output_dir == two.plan.config[RunConfig].output_dir


def test_the_errors_of_all_steps_come_together_with_their_lines(steps):
    with pytest.raises(ConfigError) as e:
        steps("pipeline:\n- stage: frist\n- stage: second\n  rnak: 2\n")
    text = str(e.value)
    assert "p.yaml:2: error: no plugin offers stage:frist" in text
    assert "p.yaml:4: error: unknown key 'rnak'" in text


def test_a_key_twice_in_a_step_is_an_error_with_its_line():
    with pytest.raises(ConfigError, match="p.yaml:4: error: 'rank' is set twice, first on line 3"):
        parse_yaml("pipeline:\n- stage: first\n  rank: 1\n  rank: 2\n", "p.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pipeline: first\n", "p.yaml:1: error: pipeline is a list of steps"),
        ("pipeline: []\n", "pipeline is a list of steps"),
        ("pipeline:\n- first\n", "pipeline is a list of steps"),
        ("pipeline:\n- stage: first\n- stage: first\n", "p.yaml:3: error: two steps are called 'first'"),
        ("pipeline:\n- pipeline:\n  - stage: first\n", "p.yaml:2: error: a step of a pipeline cannot be a pipeline"),
    ],
)
def test_what_is_no_pipeline_is_said_with_its_line(steps, text, message):
    with pytest.raises(ConfigError) as e:
        steps(text)
    assert message in str(e.value)


def test_two_plugins_that_hand_on_one_key_are_an_error(plugin, install, component):
    parts = [component(cid, default=True) for cid in ("loader:x", "template:x", "adapter:full", "stage:first")]
    give = {"ftk_hand_on": lambda plan: {"base": "x"}}
    found = install(
        plugin("ft-plugin-a", components=parts, sections=[Base], **give),
        plugin("ft-plugin-b", components=[component("trainer:x", default=True)], **give),
    )

    def planner(raw, action):
        config, _ = compose(raw, found.index)
        return resolve_plan(config, found, action)

    with pytest.raises(ConfigError, match="two plugins hand on 'base'; the second is ft-plugin-b"):
        plan_steps(parse_yaml("pipeline:\n- stage: first\n", "p.yaml"), {}, planner)


def test_a_null_pipeline_is_none():
    assert not is_pipeline(parse_yaml("pipeline: null\n", "p.yaml"))
    assert not is_pipeline({"stage": Raw("first", None)})
