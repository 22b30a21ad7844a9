"""What this plugin offers. Imports nothing heavy."""

from ftk.component import Component
from ftk.markers import hookimpl


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="format",
            name="sharegpt",
            target="ft_plugin_format_sharegpt.sharegpt:ShareGPTFormat",
            summary="Rows with a conversation of from and value turns",
        )
    ]
