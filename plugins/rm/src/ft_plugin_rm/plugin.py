"""What this plugin offers. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ft_plugin_merge.folder import obstacle
from ft_plugin_merge.plugin import sources
from ftk.aliases import Alias
from ftk.component import Component
from ftk.markers import hookimpl
from ftk.problems import Problem
from ftk.settings import RunConfig

from .config import ClassifierConfig, RmConfig

if TYPE_CHECKING:
    from ftk.plan import Plan

EXPORT = "rm_export_dir"


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="stage",
            name="rm",
            target="ft_plugin_rm.stage:Rm",
            summary="Reward modelling: a score for each answer, such that the better one's is higher",
            requires=("trainer:transformers",),
        ),
        Component(
            kind="exporter",
            name="classifier",
            target="ft_plugin_rm.classifier:Classifier",
            summary="A reward model as a sequence classifier of transformers, with the same scores",
            section="rm-classifier",
        ),
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_rm.config:RmConfig", "ft_plugin_rm.config:ClassifierConfig"]


@hookimpl
def ftk_aliases() -> list[Alias]:
    note = "TRL's name of 'rm_center_coefficient'"
    return [Alias(old="center_rewards_coefficient", new="rm_center_coefficient", note=note, silent=True)]


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    config = plan.config[RmConfig]
    problems = []
    if config.rm_center_coefficient < 0:
        message = f"rm_center_coefficient={config.rm_center_coefficient!r} is negative"
        problems.append(Problem("error", message, "0 leaves scores where they are", "rm_center_coefficient"))
    if config.rm_margin_column and config.rm_answers_column:
        message = "rm_margin_column says something of one pair, and rm_answers_column makes several of a row"
        problems.append(Problem("error", message, "keep one of the two", "rm_margin_column"))
    if found := in_the_way(plan):
        problems.append(Problem("error", *found, key=EXPORT))
    return problems


def in_the_way(plan: Plan) -> tuple[str, str] | None:
    """Why the classifier must not be written where ``rm_export_dir`` says, and what to do."""
    target, overwrite = plan.config[ClassifierConfig].rm_export_dir, plan.config[RunConfig].overwrite_output_dir
    found = obstacle(target, sources(plan), overwrite=overwrite) if target else None
    return found and (found[0].replace("export_dir", EXPORT, 1), found[1].replace("export_dir", EXPORT, 1))
