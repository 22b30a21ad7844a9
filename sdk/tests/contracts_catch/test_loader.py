"""The loader contract passes a good loader, and each of its assertions catches a broken one."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ftk.markers import hookimpl
from ftk.problems import RunError
from ftk.section import section
from ftk_sdk.contracts import LoaderContract
from ftk_sdk.fakes import installed_with, plugin


@section("simple")
class SimpleConfig:
    simple_model: str = ""
    """Folder of the model."""


class Simple:
    def folder(self, run):
        name = run.config[SimpleConfig].simple_model
        if not Path(name).is_dir():
            raise RunError(f"no model folder {name!r}")
        return name

    @hookimpl
    def ftk_load_tokenizer(self, run):
        return AutoTokenizer.from_pretrained(self.folder(run))

    @hookimpl
    def ftk_load_model(self, run, kwargs, role):
        return AutoModelForCausalLM.from_pretrained(self.folder(run), **kwargs)


class SimpleContract(LoaderContract):
    model_key = "simple_model"


class TestAGoodLoader(SimpleContract):
    component = "loader:simple"
    plugins = installed_with(plugin("simple", offers={"loader:simple": Simple}, sections=[SimpleConfig]))


class Unpadded(Simple):
    @hookimpl
    def ftk_load_tokenizer(self, run):
        tokenizer = super().ftk_load_tokenizer(run)
        tokenizer.pad_token = None
        return tokenizer


class Prefixed(Simple):
    @hookimpl
    def ftk_load_tokenizer(self, run):
        tokenizer = super().ftk_load_tokenizer(run)
        return lambda text: tokenizer("a " + text)


class Untrained(Simple):
    @hookimpl
    def ftk_load_model(self, run, kwargs, role):
        model = super().ftk_load_model(run, kwargs, role)
        torch.nn.init.normal_(model.lm_head.weight)
        return model


class DropsArguments(Simple):
    @hookimpl
    def ftk_load_model(self, run, kwargs, role):
        return super().ftk_load_model(run, {}, role)


class Shares(Simple):
    model = None

    @hookimpl
    def ftk_load_model(self, run, kwargs, role):
        self.model = self.model or super().ftk_load_model(run, kwargs, role)
        return self.model


class Raises(Simple):
    def folder(self, run):
        return run.config[SimpleConfig].simple_model


class Vague(Simple):
    @hookimpl
    def ftk_load_model(self, run, kwargs, role):
        raise RunError("cannot load")


class Pretends(Simple):
    @hookimpl
    def ftk_load_model(self, run, kwargs, role):
        return torch.nn.Identity()


MISSING = "test_a_folder_that_is_not_there_is_an_error_that_names_it"
BROKEN = [
    ("test_the_tokenizer_is_that_of_the_folder_and_pads", Unpadded, "has no pad token"),
    ("test_the_tokenizer_is_that_of_the_folder_and_pads", Prefixed, "its tokenizer gives other ids"),
    ("test_the_model_says_what_the_folders_model_says", Untrained, "its logits differ from the folder's model"),
    ("test_keyword_arguments_of_others_reach_the_model", DropsArguments, "it does not pass the keyword arguments on"),
    ("test_each_role_gets_a_model_of_its_own", Shares, "so training one trains the other"),
    (MISSING, Raises, "raise a RunError that says what to do"),
    (MISSING, Vague, "the error does not name"),
    (MISSING, Pretends, "is not there, and a model was loaded"),
]


@pytest.mark.parametrize(("method", "broken", "message"), BROKEN)
def test_a_broken_loader_is_caught(caught, tmp_path, tiny_model_dir, method, broken, message):
    class Contract(SimpleContract):
        component = "loader:broken"
        plugins = installed_with(plugin("simple", offers={"loader:broken": broken}, sections=[SimpleConfig]))

    fixtures = {"tmp_path": tmp_path} if method == MISSING else {"tiny_model_dir": tiny_model_dir}
    assert message in caught(Contract, method, **fixtures)
