"""The run phase with components that record what is done to them; no model is needed to show who is called when."""

import json
import sys
import types

import pytest

from ftk import lock
from ftk.compose import compose
from ftk.contracts import Artifact, ModelLocation
from ftk.execute import start
from ftk.load import parse_yaml
from ftk.markers import hookimpl, hookspec
from ftk.plan import resolve_plan
from ftk.problems import ConfigError, RunError
from ftk.run import NO_TELEMETRY, Run
from ftk.section import section

LOG: list[str] = []


class Loader:
    @hookimpl
    def ftk_load_tokenizer(self, run):
        LOG.append("tokenizer")
        return "tok"

    @hookimpl
    def ftk_model_kwargs(self, run, role):
        return {"dtype": "float32"}

    @hookimpl
    def ftk_load_model(self, run, kwargs, role):
        LOG.append(f"model {role} {dict(kwargs)}")
        return "model"


class Template:
    @hookimpl
    def ftk_load_template(self, run, tokenizer):
        LOG.append(f"template({tokenizer})")
        return "tpl"


class Adapter:
    @hookimpl
    def ftk_adapt_model(self, run, model):
        LOG.append(f"adapt({model})")
        return f"lora({model})"


class Data:
    @hookimpl
    def ftk_load_dataset(self, run, split, encoder):
        LOG.append(f"data {split} {encoder}")
        return [split]


class Trained:
    metrics = {"train_loss": 1.0}


class Stage:
    @hookimpl
    def ftk_encoder(self, run, tokenizer, template):
        return f"enc({tokenizer},{template})"

    @hookimpl
    def ftk_build_trainer(self, run, parts):
        LOG.append(f"trainer({parts.model}, {parts.callbacks}, {dict(parts.args)})")
        return types.SimpleNamespace(train=lambda: Trained, evaluate=lambda: {"eval_loss": 2.0}, model=parts.model)

    @hookimpl
    def ftk_callbacks(self, run):
        return ["stage-cb"]


class Tap:
    """Wraps the model; ``name`` comes from the component's args."""

    def __init__(self, name):
        self.name = name

    @hookimpl(wrapper=True)
    def ftk_load_model(self, run, kwargs, role):
        model = yield
        return f"{self.name}({model})"

    @hookimpl
    def ftk_callbacks(self, run):
        return [self.name]


class Rude:
    @hookimpl
    def ftk_model_kwargs(self, run, role):
        return {"dtype": "float16"}


class Exporter:
    @hookimpl
    def ftk_export(self, run, model, tokenizer):
        return Artifact(kind="merge", path=run.output_dir, summary=f"{model} {tokenizer}")


class Tracker:
    @hookimpl
    def ftk_run_finished(self, run, result):
        LOG.append(f"finished {result.metrics}")

    @hookimpl
    def ftk_run_failed(self, run, error):
        LOG.append(f"failed {error}")
        raise RuntimeError("tracker down")


class Failing:
    @hookimpl
    def ftk_load_template(self, run, tokenizer):
        raise ValueError("bad template")


class Early:
    @hookimpl
    def ftk_prepare_process(self, run):
        LOG.append(f"prepared before {'late_target' in sys.modules}")


class Specs:
    @hookspec
    def ftk_lora_kwargs(self, run):
        """Keyword arguments of the adapter."""


class Dora:
    def __init__(self, value=True):
        self.value = value

    @hookimpl
    def ftk_lora_kwargs(self, run):
        return {"use_dora": self.value}


class Profiler:
    @hookimpl(wrapper=True)
    def ftk_run(self, run):
        LOG.append("before")
        result = yield
        LOG.append("after")
        return result


class WrapsCollected:
    @hookimpl(wrapper=True)
    def ftk_callbacks(self, run):
        return (yield)


class WrapsOne:
    @hookimpl(wrapper=True)
    def ftk_formatter(self, run, spec):
        return (yield)


class EarlyWithoutArguments:
    @hookimpl
    def ftk_prepare_process(self):
        raise ValueError("no such device")


class Hub:
    @hookimpl
    def ftk_locate_model(self, run, name):
        return ModelLocation(path="/there") if name.startswith("hub:") else None


class Formats:
    def __init__(self, name):
        self.name = name

    @hookimpl
    def ftk_formatter(self, run, spec):
        return self.name

    @hookimpl
    def ftk_open_source(self, run, spec):
        return self.name


class Builders:
    @hookimpl
    def ftk_build_optimizer(self, run, model):
        return f"optimizer of {model}"

    @hookimpl
    def ftk_build_scheduler(self, run, optimizer, steps):
        return f"schedule of {optimizer} for {steps}"

    @hookimpl
    def ftk_loss(self, run):
        return "loss"

    @hookimpl
    def ftk_training_args(self, run):
        return {"bf16": True}

    @hookimpl
    def ftk_engine(self, run):
        return "engine"


@section("mine")
class Mine:
    mine_key: int = 1
    mine_unread: int = 1


BASE = {"loader:l": Loader, "template:t": Template, "adapter:a": Adapter, "stage:s": Stage, "dataset:d": Data}


@pytest.fixture
def run_of(plugin, install, component, monkeypatch, tmp_path):
    LOG.clear()
    monkeypatch.setitem(sys.modules, "test_run_targets", sys.modules.get(__name__) or types.ModuleType("m"))
    holder = types.ModuleType("test_run_targets")
    holder.__dict__.update(globals())
    monkeypatch.setitem(sys.modules, "test_run_targets", holder)

    def make(extra=None, text="", action="train", specs=(), only=None):
        made = []
        for cid, what in {**BASE, **(extra or {})}.items():
            cls, fields = what if isinstance(what, tuple) else (what, {})
            made.append(component(cid, f"test_run_targets:{cls.__name__}", **fields))
        names = [f"test_run_targets:{s.__name__}" for s in specs]
        installed = install(plugin("p-all", components=made, sections=[Mine], ftk_hookspecs=lambda: names))
        out = f"output_dir: {tmp_path / 'out'}\n"
        config, _ = compose(parse_yaml(out + text, "a.yaml"), installed.index)
        return Run(resolve_plan(config, installed, action, components=only or [c.id for c in made]))

    return make


def test_a_run_does_everything_in_the_documented_order(run_of):
    result = start(run_of({"exporter:e": Exporter, "tracker:t": Tracker}, "do_train: true\ndo_eval: true\n"))
    assert LOG == [
        "tokenizer",
        "template(tok)",
        "data train enc(tok,tpl)",
        "data eval enc(tok,tpl)",
        "model policy {'dtype': 'float32'}",
        "adapt(model)",
        "trainer(lora(model), ['stage-cb'], {})",
        "finished {'train_loss': 1.0, 'eval_loss': 2.0}",
    ]
    assert result.metrics == {"train_loss": 1.0, "eval_loss": 2.0}
    assert result.artifacts[0].summary == "lora(model) tok"


def test_an_export_loads_the_model_and_trains_nothing(run_of):
    run = run_of({"exporter:e": Exporter}, action="export")
    assert [a.summary for a in start(run).artifacts] == ["lora(model) tok"]
    assert LOG == ["tokenizer", "model policy {'dtype': 'float32'}", "adapt(model)"]
    assert not run.output_dir.exists()


def test_wrappers_are_a_pipeline_in_plan_order(run_of):
    noise = (Tap, {"args": {"name": "neftune"}, "after": ("addon:liger",)})
    run = run_of({"addon:neftune": noise, "addon:liger": (Tap, {"args": {"name": "liger"}})})
    assert run.load_model() == "neftune(liger(model))"
    assert run.callbacks() == ["stage-cb", "liger", "neftune"]


def test_a_wrapper_can_surround_the_whole_run(run_of):
    start(run_of({"addon:p": Profiler}))
    assert (LOG[0], LOG[-1]) == ("before", "after")


def test_two_components_that_set_one_argument_are_an_error_naming_both(run_of):
    with pytest.raises(RunError, match="loader:l and quantizer:r both set 'dtype' of from_pretrained"):
        run_of({"quantizer:r": Rude}).load_model()


def test_two_providers_of_one_hook_are_refused(run_of):
    with pytest.raises(
        RunError, match="addon:x and loader:l both provide ftk_load_tokenizer|loader:l and addon:x both provide"
    ):
        run_of({"addon:x": Loader})


def test_a_wrapper_around_a_collecting_hook_is_refused(run_of):
    with pytest.raises(RunError, match="addon:w wraps ftk_callbacks"):
        run_of({"addon:w": WrapsCollected})


def test_a_wrapper_around_a_hook_of_one_component_is_refused(run_of):
    with pytest.raises(RunError, match="addon:w wraps ftk_formatter, which is called on one component alone"):
        run_of({"addon:w": WrapsOne})


def test_a_plugin_brings_a_hook_of_its_own(run_of):
    run = run_of({"addon:dora": Dora}, specs=[Specs])
    assert run.merged("ftk_lora_kwargs", into="LoraConfig", run=run) == {"use_dora": True}
    both = run_of({"addon:dora": Dora, "addon:rude": (Dora, {"args": {"value": False}})}, specs=[Specs])
    with pytest.raises(RunError, match="addon:dora and addon:rude both set 'use_dora' of LoraConfig"):
        both.merged("ftk_lora_kwargs", into="LoraConfig", run=both)


def test_hooks_come_also_from_a_plugin_without_a_component_in_the_plan_that_another_depends_on(run_of, install, plugin):
    run = run_of({"addon:dora": Dora}, specs=[Specs])
    whole = run.plan.installed.usable[0]
    base = plugin("ft-plugin-base", ftk_hookspecs=lambda: ["test_run_targets:Specs"])
    offers = plugin("ft-plugin-offers", components=list(whole.components), requires=["ftk-kernel", "ft-plugin-base"])
    config, _ = compose({}, install(base, offers).index)
    plan = resolve_plan(config, install(base, offers), "train", components=[c.id for c in whole.components])
    assert Run(plan).merged("ftk_lora_kwargs", into="LoraConfig", run=None) == {"use_dora": True}


def test_an_error_says_which_component_raised_it_and_trackers_are_told(run_of):
    with pytest.raises(ValueError, match="bad template") as caught:
        start(run_of({"template:t": Failing, "tracker:t": Tracker}))
    assert caught.value.__notes__ == [
        "while template:t ran ftk_load_template",
        "and then RuntimeError while telling about it: tracker down",
    ]
    assert LOG[-1] == "failed bad template"


def test_early_components_prepare_before_other_targets_are_imported(
    run_of, plugin, install, component, monkeypatch, tmp_path
):
    (tmp_path / "late_target.py").write_text("class Late:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    run_of()
    early = component("accelerator:z", "test_run_targets:Early", early=True)
    late = component("accelerator:a", "late_target:Late")
    installed = install(plugin("p-x", components=[early, late]))
    config, _ = compose({}, installed.index)
    Run(resolve_plan(config, installed, "train", components=["accelerator:a", "accelerator:z"]))
    assert LOG == ["prepared before False"] and "late_target" in sys.modules
    del sys.modules["late_target"]


def test_an_early_component_that_fails_is_named(run_of):
    with pytest.raises(ValueError, match="no such device") as caught:
        run_of({"accelerator:e": (EarlyWithoutArguments, {"early": True})})
    assert caught.value.__notes__ == ["while accelerator:e ran ftk_prepare_process"]


def test_a_target_that_cannot_be_imported_says_what_to_install(run_of, plugin, install, component):
    installed = install(plugin("p-x", components=[component("addon:x", "no_such_package.mod:X")]))
    config, _ = compose({}, installed.index)
    with pytest.raises(RunError, match=r"addon:x \(p-x\) cannot be imported.*\n.*pip install no_such_package"):
        Run(resolve_plan(config, installed, "train", components=["addon:x"]))


def test_formats_and_sources_are_called_by_name(run_of):
    extra = {f"{kind}:{n}": (Formats, {"args": {"name": n}}) for kind in ("format", "source") for n in "ab"}
    run = run_of(extra)
    spec = types.SimpleNamespace(formatting="b", source="a")
    assert (run.formatter(spec), run.open_source(spec)) == ("b", "a")
    with pytest.raises(RunError, match="holds no format:zzz"):
        run.formatter(types.SimpleNamespace(formatting="zzz"))


def test_a_model_is_where_its_name_says_unless_a_hub_knows_better(run_of):
    run = run_of({"hub:h": Hub})
    assert run.locate_model("hub:x").path == "/there"
    assert run.locate_model("plain/name").path == "plain/name"


def test_hooks_without_provider_give_none_where_that_is_allowed(run_of):
    run = run_of()
    assert [run.loss(), run.build_optimizer("m"), run.build_scheduler("o", 3), run.training_args()] == [
        None,
        None,
        None,
        {},
    ]
    with pytest.raises(RunError, match="no component of this plan provides ftk_engine"):
        run.engine()


def test_the_trainers_parts_can_be_provided(run_of):
    run = run_of({"optimizer:b": Builders})
    assert run.build_optimizer("m") == "optimizer of m"
    assert run.build_scheduler("o", 3) == "schedule of o for 3"
    assert (run.loss(), run.training_args(), run.engine()) == ("loss", {"bf16": True}, "engine")


def test_a_key_that_nothing_reads_is_reported_once(run_of, caplog):
    run = run_of(text="mine_unread: 3\n")
    start(run)
    assert caplog.text.count("a.yaml:2: 'mine_unread' is set, but nothing in this run reads it") == 1


def test_do_eval_without_data_is_an_error(run_of):
    run = run_of(text="do_eval: true\n")
    run.load_dataset = lambda split, encoder: None
    with pytest.raises(RunError, match="nothing to evaluate on"):
        start(run)


def test_telemetry_is_off_before_any_target_is_imported(run_of, monkeypatch):
    import os

    for name in NO_TELEMETRY:
        monkeypatch.setenv(name, "0")
    run_of()
    assert {name: os.environ[name] for name in NO_TELEMETRY} == NO_TELEMETRY


def test_the_plan_is_on_disk_before_training_and_says_what_it_was(run_of):
    run = run_of(text="mine_key: 5\n")
    start(run)
    written = lock.read(run.output_dir)
    assert written["config"]["mine_key"] == 5 and written["defaults"]["seed"] == 42
    assert {"id": "stage:s", "dist": "p-all", "version": "1.0"} in written["components"]
    lock.record(run.output_dir, "data", {"rows": 3})
    assert lock.read(run.output_dir)["data"] == {"rows": 3}
    again = run_of(text="mine_key: 6\n")
    start(again)
    assert lock.differences(lock.read(run.output_dir)["previous"], lock.read(run.output_dir)) == ["mine_key: 5 -> 6"]


def test_a_folder_with_other_peoples_files_is_refused_untouched(run_of, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious")
    with pytest.raises(
        ConfigError, match=r"a.yaml:1: error: output_dir '.*out' is not empty, and ftk did not write it"
    ):
        start(run_of())
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.txt"]
    start(run_of(text="overwrite_output_dir: true\n"))
    assert (tmp_path / "out" / "plan.json").exists()


def test_a_json_file_is_written_whole_or_not_at_all(tmp_path):
    lock.write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(TypeError):
        lock.write_json(tmp_path / "a.json", {(1, 2): "a key that JSON has not"})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
