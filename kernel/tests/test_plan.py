import pytest

from ftk.compose import compose
from ftk.kinds import KINDS
from ftk.load import parse_yaml
from ftk.plan import infer_action, resolve_plan
from ftk.problems import ConfigError, Problem
from ftk.section import section


@section("lora")
class Lora:
    lora_rank: int = 8


@section("galore", enabled_by="use_galore")
class Galore:
    use_galore: bool = False
    galore_rank: int = 16


@section("muon", enabled_by="use_muon")
class Muon:
    use_muon: bool = False


@section("templates", selects={"template": "template"})
class Templates:
    template: str = "auto"


@section("peft")
class Peft:
    adapter_path: str | None = None


@section("generate", late=True)
class Generate:
    temperature: float = 1.0


@section("exporting", enabled_by="export_dir", late=True)
class Exporting:
    export_dir: str | None = None
    dataset: str | None = None


@pytest.fixture
def world(plugin, install, component):
    """A small first-party set, and what a test adds to it."""

    def make(*extra, without=()):
        base = {
            "ft-plugin-hf": dict(components=[component("loader:hf", default=True)]),
            "ft-plugin-templates": dict(
                components=[
                    component("template:auto", section="templates"),
                    component("template:qwen", section="templates"),
                ],
                sections=[Templates],
            ),
            "ft-plugin-sft": dict(components=[component("stage:sft", default=True)]),
            "ft-plugin-peft": dict(sections=[Peft]),
            "ft-plugin-lora": dict(
                components=[component("adapter:lora", default=True)],
                sections=[Lora],
                requires=["ft-plugin-peft==0.1.0"],
            ),
            "ft-plugin-full": dict(components=[component("adapter:full")]),
            "ft-plugin-galore": dict(
                components=[component("optimizer:galore", conflicts=("adapter:lora",))], sections=[Galore]
            ),
            "ft-plugin-muon": dict(components=[component("optimizer:muon")], sections=[Muon]),
            "ft-plugin-generate": dict(
                components=[component("engine:hf", section="generate", default=True)], sections=[Generate]
            ),
            "ft-plugin-exporting": dict(components=[component("exporter:exporting")], sections=[Exporting]),
        }
        return install(*(plugin(n, **kw) for n, kw in base.items() if n not in without), *extra)

    return make


def planned(installed, text="", action="train", **options):
    config, warnings = compose(parse_yaml(text, "a.yaml"), installed.index, installed.aliases())
    return resolve_plan(config, installed, action, warnings=warnings, **options)


def refused(installed, text, **options) -> str:
    with pytest.raises(ConfigError) as caught:
        planned(installed, text, **options)
    return str(caught.value)


def ids(plan):
    return [c.id for c in plan.components]


def test_selectors_and_defaults_make_a_plan_in_the_order_of_kinds(world):
    assert ids(planned(world())) == ["loader:hf", "template:auto", "adapter:lora", "stage:sft"]


def test_installed_is_not_active(world, plugin, component):
    before = ids(planned(world()))
    after = world(plugin("ft-plugin-new", components=[component("addon:new"), component("optimizer:new")]))
    assert ids(planned(after)) == before


def test_a_sections_selector_picks_by_name(world):
    assert "template:qwen" in planned(world(), "template: qwen")


def test_a_switch_brings_in_its_sections_component(world):
    plan = planned(world(), "use_galore: true\nfinetuning_type: full")
    assert ids(plan)[-1] == "optimizer:galore"
    assert dict(plan.reasons)["optimizer:galore"] == "use_galore: True"


def test_chat_and_export_hold_what_belongs_to_them(world):
    text = "use_galore: true\nfinetuning_type: full\nexport_dir: out"
    assert ids(planned(world(), text, "chat")) == ["loader:hf", "template:auto", "adapter:full", "engine:hf"]
    assert ids(planned(world(), text, "export"))[-1] == "exporter:exporting"


def test_what_requires_a_kind_of_another_action_stays_with_it(world, plugin, component):
    stages = [component("stage:sort"), component("measure:length", requires=("stage:sort",))]
    extra = plugin("ft-plugin-sort", components=stages, ftk_select=lambda config: ["measure:length"])
    assert "measure:length" in planned(world(extra), "stage: sort")
    assert "measure:length" not in planned(world(extra), "stage: sort", "chat")


def test_two_of_an_exclusive_kind_are_refused_with_their_reasons(world):
    text = "use_galore: true\nuse_muon: true\nfinetuning_type: full"
    assert refused(world(), text) == (
        "error: a run has one optimizer, but optimizer:galore (use_galore: True) and optimizer:muon (use_muon: True) are"
        " selected\n    unset all but one"
    )


def test_a_conflict_names_both_sides(world):
    assert refused(world(), "use_galore: true") == (
        "error: optimizer:galore (use_galore: True) cannot run together with adapter:lora (default)\n"
        "    unset one of the two"
    )


def test_a_requirement_that_is_not_planned_is_an_error(world, plugin, component):
    @section("dora", enabled_by="use_dora")
    class Dora:
        use_dora: bool = False

    installed = world(plugin("dora", components=[component("addon:dora", requires=("adapter:lora",))], sections=[Dora]))
    assert "addon:dora" in planned(installed, "use_dora: true")
    assert "addon:dora (use_dora: True) requires adapter:lora" in refused(
        installed, "use_dora: true\nfinetuning_type: full"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "stage: dpo",
            "stage:dpo (stage: dpo) is provided by ft-plugin-dpo, which is not installed\n    pip install ft-plugin-dpo",
        ),
        ("stage: sftt", "no plugin offers stage:sftt (stage: sftt)\n    did you mean 'sft'?"),
        ("stage: dop", "did you mean 'dpo'? (ft-plugin-dpo, not installed)"),
        ("template: zzz", "no plugin offers template:zzz (template: zzz)\n    installed: auto, qwen"),
    ],
)
def test_a_name_that_nobody_offers_gets_a_hint_and_its_line(world, text, message):
    told = refused(world(), text)
    assert message in told and told.startswith("a.yaml:1: error:")


def test_a_quarantined_plugin_that_is_asked_for_is_an_error_with_the_reason(world, plugin):
    installed = world(plugin("ft-plugin-dpo", load=lambda: 1 / 0))
    assert refused(installed, "stage: dpo") == (
        "a.yaml:1: error: stage:dpo (stage: dpo) is provided by ft-plugin-dpo, which is installed but cannot be used\n"
        "    ZeroDivisionError: division by zero"
    )
    assert "stage:sft" in planned(installed)


def test_a_quarantined_stranger_is_recognised_by_its_name(world, plugin):
    installed = world(plugin("ft-plugin-mystage", load=lambda: 1 / 0))
    assert "ft-plugin-mystage, which is installed but cannot be used" in refused(installed, "stage: mystage")


def test_after_uninstalling_the_hint_comes_and_the_rest_works(world):
    installed = world(without=("ft-plugin-galore",))
    assert "pip install ft-plugin-galore" in refused(installed, "use_galore: true\nfinetuning_type: full")
    assert ids(planned(installed)) == ids(planned(world()))


def test_a_missing_kind_says_what_the_action_needs(world):
    assert "to train, a plan needs one loader" in refused(world(without=("ft-plugin-hf",)), "")


def test_after_orders_within_a_kind_and_names_break_ties(world, plugin, component):
    installed = world(
        plugin(
            "p-a",
            components=[
                component("addon:a", after=("addon:c",), default=False),
                component("addon:b"),
                component("addon:c"),
            ],
        )
    )
    plan = planned(installed, components=["addon:a", "addon:b", "addon:c"])
    assert ids(plan) == ["addon:b", "addon:c", "addon:a"]


def test_a_cycle_is_printed(world, plugin, component):
    installed = world(
        plugin("p", components=[component("addon:a", after=("addon:b",)), component("addon:b", after=("addon:a",))])
    )
    with pytest.raises(ConfigError, match="components wait for each other: addon:[ab] -> addon:[ab] -> addon:[ab]"):
        planned(installed, components=["addon:a", "addon:b"])


def test_values_can_ask_for_components(world, plugin, component):
    def ftk_select(config):
        return ["source:local"] if config.was_set("seed") else []

    installed = world(plugin("p", components=[component("source:local")], ftk_select=ftk_select))
    assert "source:local" in planned(installed, "seed: 1")
    assert "source:local" not in planned(installed)


def test_a_packages_absence_is_told_when_planned(world, plugin, component):
    @section("fast", enabled_by="use_fast")
    class Fast:
        use_fast: bool = False

    installed = world(plugin("fast", components=[component("addon:fast", needs=("no_such_module",))], sections=[Fast]))
    assert "addon:fast needs the package 'no-such-module'\n    pip install no-such-module" in refused(
        installed, "use_fast: true"
    )


def test_checks_see_the_plan_and_get_the_line_of_their_key(world, plugin, component):
    def ftk_check(plan):
        assert "stage:sft" in plan
        return [Problem("warning", "odd rank", key="lora_rank"), Problem("missing", "no data")]

    def ftk_select(config):
        return ["addon:checked"]

    installed = world(
        plugin("checked", components=[component("addon:checked")], ftk_check=ftk_check, ftk_select=ftk_select)
    )
    assert [str(p) for p in planned(installed, "lora_rank: 7").problems] == [
        "a.yaml:1: warning: odd rank",
        "missing: no data",
    ]


def test_a_check_that_raises_is_told_by_its_plugins_name(world, plugin, component):
    broken = plugin(
        "p", components=[component("addon:p")], ftk_check=lambda plan: 1 / 0, ftk_select=lambda config: ["addon:p"]
    )
    assert "p failed in ftk_check: ZeroDivisionError" in refused(world(broken), "")


def test_checks_of_plugins_outside_the_plan_are_not_asked(world, plugin, component):
    planned(world(plugin("p", components=[component("addon:p")], ftk_check=lambda plan: 1 / 0)))


def test_keys_that_the_run_does_not_use_are_warned_about(world):
    told = [
        str(p)
        for p in planned(world(), "finetuning_type: full\nlora_rank: 4\ngalore_rank: 9\nadapter_path: x").problems
    ]
    assert told == [
        "a.yaml:4: warning: 'adapter_path' has no effect: this run does not use ft-plugin-peft",
        "a.yaml:3: warning: 'galore_rank' has no effect: this run does not use ft-plugin-galore",
        "a.yaml:2: warning: 'lora_rank' has no effect: this run does not use ft-plugin-lora",
    ]


def test_a_shared_section_is_used_through_the_plugins_that_depend_on_it(world):
    assert planned(world(), "adapter_path: x").problems == ()


def test_keys_at_their_default_and_keys_for_another_action_are_no_warning(world):
    assert planned(world(), "finetuning_type: full\nlora_rank: 8\ntemperature: 0.5").problems == ()


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("", "train"),
        ("export_dir: x", "export"),
        ("export_dir: x\ndataset: d", "train"),
        ("export_dir: x\ndo_train: true", "train"),
    ],
)
def test_a_config_that_only_names_an_export_is_one(world, text, action):
    installed = world()
    config, _ = compose(parse_yaml(text, "a.yaml"), installed.index)
    assert infer_action(config) == action


def test_kinds_are_known_by_one_name():
    assert all(name == kind.name for name, kind in KINDS.items())


def test_selectors_and_switches_count_as_read(world):
    config = planned(world(), "template: qwen\nuse_muon: true\nstage: sft\nfinetuning_type: full\nseed: 3").config
    assert config.unread(["template", "use_muon", "stage", "finetuning_type", "seed"]) == ["seed"]
