"""One run: its config, its plan, and typed calls of its hooks."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from . import calls
from .component import resolve
from .contracts import ModelLocation
from .execute import Execute
from .plan import Plan
from .problems import RunError
from .settings import RunConfig
from .specs import run as specs
from .specs import training

if TYPE_CHECKING:
    from .contracts import (
        Artifact,
        DatasetSpec,
        Encoder,
        Engine,
        Formatter,
        Parts,
        Result,
        Role,
        Template,
        ToolParser,
        Trainer,
    )

NO_TELEMETRY = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "DISABLE_TELEMETRY": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "DISABLE_SAFETENSORS_CONVERSION": "1",
}
"""Set before any target is imported: ftk and what it runs send nothing anywhere. (Converting pickles is a service.)"""

SPECS = (specs.Process, specs.Data, specs.Model, training.Training, training.After)


class Run:
    """Holds config, plan, hook calls, output folder, logger and seed, and nothing else."""

    def __init__(self, plan: Plan, logger: logging.Logger | None = None) -> None:
        self.plan = plan
        self.config = plan.config
        self.output_dir = Path(plan.config[RunConfig].output_dir)
        self.seed = plan.config[RunConfig].seed
        self.logger = logger or logging.getLogger("ftk")
        self._manager = self._make_manager()

    def _make_manager(self) -> pluggy.PluginManager:
        """Import the planned targets, early ones first, and register them in plan order."""
        os.environ.update(NO_TELEMETRY)
        manager = pluggy.PluginManager("ftk")
        for spec in SPECS:
            manager.add_hookspecs(spec)
        for plugin in self.plan.extended():
            for target in getattr(plugin.module, "ftk_hookspecs", list)():
                manager.add_hookspecs(resolve(target))
        objects: dict[str, object] = {}
        for component in sorted(self.plan.components, key=lambda c: not c.early):
            try:
                objects[component.id] = component.load()
            except ImportError as e:
                hint = (
                    f"pip install {e.name}"
                    if isinstance(e, ModuleNotFoundError) and e.name
                    else f"reinstall {component.plugin}"
                )
                raise RunError(f"{component.id} ({component.plugin}) cannot be imported: {e}", hint) from e
            if component.early:
                self._prepare(component.id, objects[component.id])
        manager.register(Execute(), name="kernel")
        for component in self.plan.components:
            manager.register(objects[component.id], name=component.id)
        manager.check_pending()
        calls.check_providers(manager)
        return manager

    def _prepare(self, component_id: str, early: object) -> None:
        """Call the one hook that comes before the run's manager, on one component."""
        manager = pluggy.PluginManager("ftk")
        for spec in SPECS:
            manager.add_hookspecs(spec)
        manager.register(early, name=component_id)
        calls.collect(manager, "ftk_prepare_process", run=self)

    # For hooks that plugins bring themselves.

    def collect(self, hook: str, **arguments: Any) -> list[Any]:
        return [result for _, result in calls.collect(self._manager, hook, **arguments)]

    def merged(self, hook: str, into: str, **arguments: Any) -> dict[str, Any]:
        return calls.merge(self._manager, hook, into, **arguments)

    def single(self, hook: str, **arguments: Any) -> Any:
        return calls.single(self._manager, hook, **arguments)

    def _required(self, hook: str, **arguments: Any) -> Any:
        result = self.single(hook, **arguments)
        if result is None:
            raise RunError(f"no component of this plan provides {hook}", "see the components that 'ftk plan' lists")
        return result

    # The kernel's hooks, typed, in the order in which a run calls them.

    def start(self) -> Result:
        return self._required("ftk_run", run=self)

    def load_tokenizer(self) -> Any:
        return self._required("ftk_load_tokenizer", run=self)

    def load_template(self, tokenizer: Any) -> Template:
        return self._required("ftk_load_template", run=self, tokenizer=tokenizer)

    def tool_parser(self, template: Template) -> ToolParser | None:
        return self.single("ftk_tool_parser", run=self, template=template)

    def encoder(self, tokenizer: Any, template: Template) -> Encoder:
        return self._required("ftk_encoder", run=self, tokenizer=tokenizer, template=template)

    def load_dataset(self, split: str, encoder: Encoder) -> Any:
        return self.single("ftk_load_dataset", run=self, split=split, encoder=encoder)

    def open_source(self, spec: DatasetSpec) -> Any:
        return calls.named(self._manager, "ftk_open_source", f"source:{spec.source}", run=self, spec=spec)

    def formatter(self, spec: DatasetSpec) -> Formatter:
        return calls.named(self._manager, "ftk_formatter", f"format:{spec.formatting}", run=self, spec=spec)

    def training_args(self) -> dict[str, Any]:
        return self.merged("ftk_training_args", into="the training arguments", run=self)

    def locate_model(self, name: str) -> ModelLocation:
        return self.single("ftk_locate_model", run=self, name=name) or ModelLocation(path=name)

    def load_model(self, role: Role = "policy") -> Any:
        kwargs: Mapping[str, Any] = self.merged("ftk_model_kwargs", into="from_pretrained", run=self, role=role)
        return self._required("ftk_load_model", run=self, kwargs=kwargs, role=role)

    def adapt_model(self, model: Any) -> Any:
        return self._required("ftk_adapt_model", run=self, model=model)

    def callbacks(self) -> list[Any]:
        return [callback for part in self.collect("ftk_callbacks", run=self) for callback in part]

    def loss(self) -> Any:
        return self.single("ftk_loss", run=self)

    def build_optimizer(self, model: Any) -> Any:
        return self.single("ftk_build_optimizer", run=self, model=model)

    def build_scheduler(self, optimizer: Any, steps: int) -> Any:
        return self.single("ftk_build_scheduler", run=self, optimizer=optimizer, steps=steps)

    def build_trainer(self, parts: Parts) -> Trainer:
        return self._required("ftk_build_trainer", run=self, parts=parts)

    def engine(self) -> Engine:
        return self._required("ftk_engine", run=self)

    def export(self, model: Any, tokenizer: Any) -> list[Artifact]:
        return self.collect("ftk_export", run=self, model=model, tokenizer=tokenizer)

    def finished(self, result: Result) -> None:
        self.collect("ftk_run_finished", run=self, result=result)

    def failed(self, error: BaseException) -> None:
        """Tell the run's components; what they raise must not hide the error."""
        try:
            self.collect("ftk_run_failed", run=self, error=error)
        except Exception as second:
            error.add_note(f"and then {type(second).__name__} while telling about it: {second}")
