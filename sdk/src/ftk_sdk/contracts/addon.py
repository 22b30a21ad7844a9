"""What holds for every add-on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback, TrainingArguments

from ftk.run import Run

from ..testing import make_plan
from ..tiny import tiny_llama, tiny_tokenizer
from .subject import Subject


class AddonContract(Subject):
    """Set ``component`` and ``keys``, the keys that switch it on; ``beside`` when it is an add-on of a component."""

    def values(self) -> dict[str, tuple[dict[str, Any], Any]]:
        """Hook -> its arguments, and what its provider might give. Override to add hooks of plugins."""
        return {
            "ftk_load_tokenizer": ({}, tiny_tokenizer()),
            "ftk_load_model": ({"kwargs": {}, "role": "policy"}, tiny_llama()),
            "ftk_adapt_model": ({"model": tiny_llama()}, tiny_llama()),
        }

    def implementations(self, run: Run) -> dict[str, Any]:
        """Hook -> the add-on's implementation."""
        (planned,) = [c for c in run.plan.components if c.id == self.component]
        loaded = planned.load()
        found = {name: getattr(loaded, name) for name in dir(loaded) if name.startswith("ftk_")}
        assert found, f"{planned.target} implements no hook"
        return found

    def test_its_keys_bring_it_into_a_plan_and_nothing_else_does(self):
        with_keys, without = make_plan(self.keys, plugins=self.plugins), make_plan(plugins=self.plugins)
        assert self.component in with_keys, f"{dict(self.keys)} does not plan {self.component}"
        assert self.component not in without, f"an empty config plans {self.component}"

    def test_a_wrapper_gives_back_what_it_wraps(self):
        run = self.run()
        for hook, implementation in self.implementations(run).items():
            if hook in self.values() and implementation.ftk_impl["wrapper"]:
                arguments, value = self.values()[hook]
                out = through(implementation, value, {"run": run, **arguments})
                assert isinstance(out, type(value)), f"{hook} made {type(out).__name__} of {type(value).__name__}"

    def test_the_model_that_it_wraps_still_trains(self):
        run = self.run()
        for hook, implementation in self.implementations(run).items():
            if hook in ("ftk_load_model", "ftk_adapt_model") and implementation.ftk_impl["wrapper"]:
                arguments, value = self.values()[hook]
                model = through(implementation, value, {"run": run, **arguments}).train()
                ids = torch.arange(32).view(2, 16) % 11
                loss = model(input_ids=ids, labels=ids).loss
                loss.backward()
                assert loss.isfinite(), f"after {hook} the loss is {loss.item()}"

    def test_callbacks_are_callbacks_and_training_arguments_are_known(self, tmp_path: Path):
        run = self.run({"output_dir": str(tmp_path)})
        found = self.implementations(run)
        if "ftk_callbacks" in found:
            for callback in run.callbacks():
                assert isinstance(callback, TrainerCallback), f"{callback!r} is no transformers.TrainerCallback"
        if "ftk_training_args" in found:
            unknown = set(run.training_args()) - set(TrainingArguments.__dataclass_fields__)
            assert not unknown, f"transformers.TrainingArguments has no {', '.join(sorted(unknown))}"


def through(wrapper: Callable[..., Any], value: Any, arguments: dict[str, Any]) -> Any:
    """What a wrapper makes of its provider's value."""
    wanted = wrapper.__code__.co_varnames[: wrapper.__code__.co_argcount]
    running = wrapper(**{name: arguments[name] for name in wanted if name in arguments})
    next(running)
    try:
        running.send(value)
    except StopIteration as e:
        return e.value
    pytest.fail("a wrapper yields once")
