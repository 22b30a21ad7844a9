"""What this plugin offers. Imports nothing heavy."""

from ftk.component import Component
from ftk.markers import hookimpl


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="format",
            name="alpaca",
            target="ft_plugin_format_alpaca.alpaca:AlpacaFormat",
            summary="Rows with instruction, input and output columns, or raw text",
        )
    ]
