"""The add-on contract passes a good add-on, and each of its assertions catches a broken one."""

import pytest
import torch
from transformers import TrainerCallback

from ftk.markers import hookimpl
from ftk.section import section
from ftk_sdk.contracts import AddonContract
from ftk_sdk.fakes import installed_with, plugin


@section("hum", enabled_by="use_hum")
class HumConfig:
    use_hum: bool = False
    """Hum."""


class Hum:
    @hookimpl(wrapper=True)
    def ftk_load_model(self, run):
        model = yield
        model.hums = True
        return model

    @hookimpl
    def ftk_callbacks(self, run):
        return [TrainerCallback()]

    @hookimpl
    def ftk_training_args(self, run):
        return {"logging_steps": 3}


class HumContract(AddonContract):
    keys = {"use_hum": True}


class TestAGoodAddon(HumContract):
    component = "addon:hum"
    plugins = installed_with(plugin("hum", offers={"addon:hum": Hum}, sections=[HumConfig]))


class Drops:
    @hookimpl(wrapper=True)
    def ftk_load_model(self, run):
        yield


class Twice:
    @hookimpl(wrapper=True)
    def ftk_load_model(self, run):
        yield
        return (yield)


class Explodes:
    @hookimpl(wrapper=True)
    def ftk_load_model(self, run):
        model = yield
        torch.nn.init.constant_(model.lm_head.weight, float("inf"))
        return model


class Callables:
    @hookimpl
    def ftk_callbacks(self, run):
        return [print]


class Misspells:
    @hookimpl
    def ftk_training_args(self, run):
        return {"loging_steps": 3}


class DoesNothing: ...


KNOWN = "test_callbacks_are_callbacks_and_training_arguments_are_known"
BROKEN = [
    ("test_a_wrapper_gives_back_what_it_wraps", Drops, "ftk_load_model made NoneType of LlamaForCausalLM"),
    ("test_a_wrapper_gives_back_what_it_wraps", Twice, "a wrapper yields once"),
    ("test_a_wrapper_gives_back_what_it_wraps", DoesNothing, "implements no hook"),
    ("test_the_model_that_it_wraps_still_trains", Explodes, "after ftk_load_model the loss is"),
    (KNOWN, Callables, "is no transformers.TrainerCallback"),
    (KNOWN, Misspells, "transformers.TrainingArguments has no loging_steps"),
]


@pytest.mark.parametrize(("method", "broken", "message"), BROKEN)
def test_a_broken_addon_is_caught(caught, tmp_path, method, broken, message):
    class Contract(HumContract):
        component = "addon:broken"
        plugins = installed_with(
            plugin("hum", offers={"addon:broken": broken}, sections=[HumConfig], fields={"section": "hum"})
        )

    fixtures = {"tmp_path": tmp_path} if method == KNOWN else {}
    assert message in caught(Contract, method, **fixtures)


PLANNED = "test_its_keys_bring_it_into_a_plan_and_nothing_else_does"


def test_an_addon_whose_keys_do_not_bring_it_in_is_caught(caught):
    class Contract(HumContract):
        component = "addon:off"
        plugins = installed_with(plugin("hum", offers={"addon:off": Hum}, sections=[HumConfig]))

    assert "{'use_hum': True} does not plan addon:off" in caught(Contract, PLANNED)


def test_an_addon_that_is_always_on_is_caught(caught):
    class Contract(HumContract):
        component = "addon:on"
        made = plugin(
            "hum", offers={"addon:on": Hum}, sections=[HumConfig], hooks={"ftk_select": lambda config: ["addon:on"]}
        )
        plugins = installed_with(made)

    assert "an empty config plans addon:on" in caught(Contract, PLANNED)
