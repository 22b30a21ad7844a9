"""What this plugin offers. Imports nothing heavy."""

from ft_plugin_trainer.config import TrainerConfig
from ftk.component import Component
from ftk.markers import hookimpl
from ftk.problems import Problem

from .arguments import parse_optim_args

BY_OPTIM = {
    "adamw": "optimizer:adamw",
    "adafactor_torch": "optimizer:adafactor",
    "muon": "optimizer:muon",
    "sgd": "optimizer:sgd",
}
"""Values of ``optim`` that mean a component. ``adafactor`` stays transformers', whose steps are of another size."""


@hookimpl
def ftk_components() -> list[Component]:
    def plain(name: str, cls: str, summary: str) -> Component:
        target = "ft_plugin_torch_optim.optimizers:TorchOptimizer"
        return Component(kind="optimizer", name=name, target=target, args={"cls": cls}, summary=summary)

    return [
        plain("adafactor", "Adafactor", "Second moments kept as rows and columns (arXiv:1804.04235)"),
        plain("adamw", "AdamW", "Adam with decoupled weight decay (arXiv:1711.05101)"),
        plain("sgd", "SGD", "Stochastic gradient descent"),
        Component(
            kind="optimizer",
            name="muon",
            target="ft_plugin_torch_optim.optimizers:Muon",
            summary="Orthogonalised momentum for hidden matrices, AdamW for the rest (arXiv:2502.16982)",
        ),
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_torch_optim.config:MuonConfig"]


@hookimpl
def ftk_select(config) -> list[str]:
    component = BY_OPTIM.get(config[TrainerConfig].optim)
    return [component] if component else []


@hookimpl
def ftk_check(plan) -> list[Problem]:
    config = plan.config[TrainerConfig]
    problems = []
    try:
        parse_optim_args(config.optim_args)
    except ValueError as e:
        problems.append(Problem("error", str(e), "write optim_args as name=value,name=value", key="optim_args"))
    if "optimizer:muon" in plan and plan.config.was_set("optim") and config.optim != "muon":
        message = f"optim: {config.optim!r} has no effect: use_muon chooses the optimizer"
        problems.append(Problem("warning", message, key="optim"))
    return problems
