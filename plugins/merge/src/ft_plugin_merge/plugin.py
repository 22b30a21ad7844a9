"""What this plugin offers. Imports nothing heavy."""

import os

from ft_plugin_hf.config import HfConfig
from ft_plugin_peft.config import AdapterConfig
from ftk.component import Component
from ftk.markers import hookimpl
from ftk.plan import Plan
from ftk.problems import Problem
from ftk.settings import RunConfig

from .config import MergeConfig
from .folder import obstacle


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="exporter",
            name="merge",
            target="ft_plugin_merge.export:Merge",
            summary="The whole model with its adapter merged, checked against the unmerged one",
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_merge.config:MergeConfig"]


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    config, run = plan.config[MergeConfig], plan.config[RunConfig]
    problems = []
    if config.export_dir is None:
        problems.append(Problem("error", "export_dir is not set", "name the folder to write to"))
    elif found := obstacle(config.export_dir, sources(plan), overwrite=run.overwrite_output_dir):
        problems.append(Problem("error", *found, key="export_dir"))
    if config.export_size < 1:
        message = f"export_size={config.export_size} must be at least 1 (GB)"
        problems.append(Problem("error", message, "5 is a usual value", key="export_size"))
    if config.export_legacy_format:
        message = "export_legacy_format: transformers 5 writes safetensors only"
        problems.append(
            Problem("error", message, "unset it; every current program reads them", key="export_legacy_format")
        )
    for quantizer in plan.of_kind("quantizer"):
        message = f"export_dir: a merge into the quantised weights of {quantizer.id} would lose precision"
        hint = "export in a step of its own, on the same adapter, without quantization_bit"
        problems.append(Problem("error", message, hint, key="export_dir"))
    if config.export_hub_model_id and os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        message = "export_hub_model_id needs the network, but HF_HUB_OFFLINE is set"
        problems.append(Problem("error", message, "unset one of the two", key="export_hub_model_id"))
    return problems


@hookimpl
def ftk_hand_on(plan: Plan) -> dict[str, object]:
    if plan.action != "export":
        return {}
    return {"model_name_or_path": plan.config[MergeConfig].export_dir, "adapter_name_or_path": None}


def sources(plan: Plan) -> list[str]:
    """What the export is made from: an export must never replace it."""
    names = [plan.config[HfConfig].model_name_or_path, *(plan.config[AdapterConfig].adapter_name_or_path or ())]
    return [name for name in [*names, plan.config[RunConfig].output_dir] if name]
