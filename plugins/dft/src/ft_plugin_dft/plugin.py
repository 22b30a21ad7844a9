"""What this plugin offers. Imports nothing heavy."""

from ftk.component import Component
from ftk.markers import hookimpl


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="loss",
            name="dft",
            target="ft_plugin_dft.loss:Dft",
            summary="Cross-entropy weighted by the token's own probability (arXiv:2508.05629)",
            requires=("stage:sft",),
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_dft.config:DftConfig"]
