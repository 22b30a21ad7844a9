"""What this plugin offers. Imports nothing heavy."""

from ft_plugin_peft.checks import adapters_after, check_adapters
from ftk.aliases import Alias
from ftk.component import Component
from ftk.markers import hookimpl
from ftk.plan import Plan
from ftk.problems import Problem

from .config import LoraConfig


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="adapter",
            name="lora",
            target="ft_plugin_lora.lora:Lora",
            summary="Low-rank updates of frozen weights (arXiv:2106.09685)",
            default=True,
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_lora.config:LoraConfig"]


@hookimpl
def ftk_hookspecs() -> list[str]:
    return ["ft_plugin_lora.specs:LoraSpecs"]


@hookimpl
def ftk_aliases() -> list[Alias]:
    note = "peft's word for 'all'"
    return [Alias(old="lora_target", new="lora_target", values={"all-linear": "all"}, note=note, silent=True)]


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    config = plan.config[LoraConfig]
    problems = check_adapters(plan)
    if config.lora_rank < 1:
        problems.append(
            Problem("error", f"lora_rank={config.lora_rank} must be at least 1", "8 is a usual value", key="lora_rank")
        )
    if not 0 <= config.lora_dropout < 1:
        message = f"lora_dropout={config.lora_dropout} must be at least 0 and below 1"
        problems.append(Problem("error", message, "0.05 is a usual value", key="lora_dropout"))
    if not config.lora_target:
        problems.append(Problem("error", "lora_target is empty", "write 'all', or names of layers", key="lora_target"))
    return problems


@hookimpl
def ftk_hand_on(plan: Plan) -> dict[str, object]:
    return adapters_after(plan)
