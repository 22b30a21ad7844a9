"""What this plugin offers. Imports nothing heavy."""

from ftk.component import Component
from ftk.markers import hookimpl


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="addon",
            name="dora",
            target="ft_plugin_dora.dora:Dora",
            summary="LoRA with decomposed weights (arXiv:2402.09353)",
            requires=("adapter:lora",),
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_dora.config:DoraConfig"]
