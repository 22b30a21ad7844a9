"""The adapter contract passes a good adapter, and each of its assertions catches a broken one."""

import pytest
import torch

from ftk.markers import hookimpl
from ftk_sdk.contracts import AdapterContract
from ftk_sdk.fakes import installed_with, plugin


class Norms:
    """Trains the norms."""

    @hookimpl
    def ftk_adapt_model(self, run, model):
        if run.plan.action == "train":
            for name, p in model.named_parameters():
                p.requires_grad_("norm" in name)
        return model


class NormsContract(AdapterContract):
    trains = "norm"


class TestAGoodAdapter(NormsContract):
    component = "adapter:norms"
    plugins = installed_with(plugin(offers={"adapter:norms": Norms}))


class TrainsMore(Norms):
    @hookimpl
    def ftk_adapt_model(self, run, model):
        return super().ftk_adapt_model(run, model).requires_grad_(True)


class TrainsNothing(Norms):
    @hookimpl
    def ftk_adapt_model(self, run, model):
        return model.requires_grad_(False)


class Shifts(Norms):
    @hookimpl
    def ftk_adapt_model(self, run, model):
        with torch.no_grad():
            model.lm_head.weight.mul_(1.1)
        return super().ftk_adapt_model(run, model)


class Unused(Norms):
    @hookimpl
    def ftk_adapt_model(self, run, model):
        model = super().ftk_adapt_model(run, model)
        model.spare_norm = torch.nn.Parameter(torch.zeros(3))
        return model


def shrink(module, inputs):
    module.weight.data.mul_(0.999)


class Drifts(Norms):
    @hookimpl
    def ftk_adapt_model(self, run, model):
        model = super().ftk_adapt_model(run, model)
        if run.plan.action == "train":
            model.lm_head.register_forward_pre_hook(shrink)
        return model


class Wraps(torch.nn.Module):
    """A linear layer and a norm that it brings."""

    def __init__(self, base):
        super().__init__()
        self.base, self.norm = base, torch.nn.Parameter(torch.ones(base.in_features))

    def forward(self, x):
        return self.base(x * self.norm)


class CannotMerge(Norms):
    @hookimpl
    def ftk_adapt_model(self, run, model):
        if run.plan.action == "train":
            model.requires_grad_(False)
            model.lm_head = Wraps(model.lm_head)
        return model


BROKEN = [
    ("test_it_trains_what_it_says_and_nothing_else", TrainsMore, "embed_tokens.weight trains, against 'norm'"),
    ("test_it_trains_what_it_says_and_nothing_else", TrainsNothing, "input_layernorm.weight does not train"),
    ("test_it_starts_as_what_the_base_model_is", Shifts, "the logits differ from the base model's"),
    ("test_every_parameter_that_trains_gets_a_gradient", Unused, "these train in name only: spare_norm"),
    ("test_training_leaves_all_else_as_it_was", Drifts, "training changed what does not train: lm_head.weight"),
    ("test_saved_and_loaded_it_is_the_same_model", CannotMerge, "saved and loaded, its logits differ"),
    ("test_merged_it_is_the_same_model_in_the_shape_of_its_base", CannotMerge, "not as in the base model"),
]


@pytest.mark.parametrize(("method", "broken", "message"), BROKEN)
def test_a_broken_adapter_is_caught(caught, tmp_path, method, broken, message):
    class Contract(NormsContract):
        component = "adapter:broken"
        plugins = installed_with(plugin(offers={"adapter:broken": broken}))

    fixtures = {"tmp_path": tmp_path} if "saved" in method else {}
    assert message in caught(Contract, method, **fixtures)


def test_an_adapter_that_merges_wrongly_is_caught(caught):
    class Contract(TestAGoodAdapter):
        def merge(self, model):
            return self.base()

    method = "test_merged_it_is_the_same_model_in_the_shape_of_its_base"
    assert "merged, its logits differ by up to" in caught(Contract, method)


def test_an_adapter_that_does_not_learn_is_caught(caught, tmp_path):
    class Contract(TestAGoodAdapter):
        def begin(self):
            model = super().begin()
            for p in model.parameters():
                if p.requires_grad:
                    p.register_hook(torch.neg)
            return model

    assert "in 6 steps" in caught(Contract, "test_saved_and_loaded_it_is_the_same_model", tmp_path=tmp_path)
