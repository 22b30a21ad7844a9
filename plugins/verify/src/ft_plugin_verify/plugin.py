"""What this plugin offers. Imports nothing heavy."""

from ftk.component import Component
from ftk.markers import hookimpl


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="addon",
            name="shrink",
            target="ft_plugin_verify.shrink:Shrink",
            summary="A small model of the same architecture in place of every model",
            requires=("loader:hf",),
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_verify.config:ShrinkConfig"]
