"""What this plugin offers. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ft_plugin_preference.checks import check_without_reference
from ftk.component import Component
from ftk.markers import hookimpl

if TYPE_CHECKING:
    from ftk.plan import Plan
    from ftk.problems import Problem


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="stage",
            name="cpo",
            target="ft_plugin_cpo.cpo:Cpo",
            summary="Contrastive preference optimisation, without a reference model (arXiv:2401.08417)",
            requires=("trainer:transformers",),
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_cpo.config:CpoConfig"]


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    return check_without_reference(plan, ignored=())
