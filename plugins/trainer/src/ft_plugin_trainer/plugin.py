"""What this plugin offers. Imports nothing heavy."""

from ftk.aliases import Alias
from ftk.component import Component
from ftk.markers import hookimpl

from .aliases import ALIASES
from .checks import problems_of


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="trainer",
            name="transformers",
            target="ft_plugin_trainer.arguments:TransformersTrainer",
            summary="transformers' Trainer with exact loss normalisation and whole checkpoints",
            section="trainer",
            default=True,
        ),
        Component(
            kind="addon",
            name="plot-loss",
            target="ft_plugin_trainer.plot:PlotLoss",
            summary="The loss curve as a picture",
        ),
        Component(
            kind="addon",
            name="early-stopping",
            target="ft_plugin_trainer.early_stopping:EarlyStopping",
            summary="Stop when evaluations no longer improve",
        ),
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return [
        "ft_plugin_trainer.config:TrainerConfig",
        "ft_plugin_trainer.config:EvaluationConfig",
        "ft_plugin_trainer.config:EarlyStoppingConfig",
        "ft_plugin_trainer.config:CheckpointConfig",
        "ft_plugin_trainer.config:ReportConfig",
        "ft_plugin_trainer.config:PlotConfig",
        "ft_plugin_trainer.config:LoadingConfig",
        "ft_plugin_trainer.config:ProcessConfig",
    ]


@hookimpl
def ftk_aliases() -> list[Alias]:
    return ALIASES


@hookimpl
def ftk_check(plan):
    return problems_of(plan)
