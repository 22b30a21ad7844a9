"""What this plugin offers. Imports nothing heavy."""

from ftk.component import Component
from ftk.markers import hookimpl
from ftk.plan import Plan
from ftk.problems import Problem
from ftk.settings import RunConfig


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="adapter",
            name="full",
            target="ft_plugin_full.full:Full",
            summary="Every weight trains",
        )
    ]


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    return check_trains_weights(plan, "full")


@hookimpl
def ftk_hand_on(plan: Plan) -> dict[str, object]:
    return weights_after(plan)


def weights_after(plan: Plan) -> dict[str, object]:
    """``ftk_hand_on`` of a plan that trains the weights themselves."""
    return {"model_name_or_path": plan.config[RunConfig].output_dir} if plan.action == "train" else {}


def check_trains_weights(plan: Plan, name: str) -> list[Problem]:
    """What an adapter that trains the weights themselves cannot go with. Chat with a quantised result is no problem."""
    problems = []
    if plan.action == "train":
        for quantizer in plan.of_kind("quantizer"):
            message = f"finetuning_type: {name} trains the weights, but {quantizer.id} quantises them"
            problems.append(
                Problem("error", message, "set finetuning_type: lora, or unset quantization_bit", "finetuning_type")
            )
    return problems
