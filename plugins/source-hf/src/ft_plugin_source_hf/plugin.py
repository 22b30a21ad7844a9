"""What this plugin offers. Imports nothing heavy."""

from ftk.component import Component
from ftk.markers import hookimpl


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="source",
            name="hf",
            target="ft_plugin_source_hf.hub:HubSource",
            summary="Rows of a dataset on the Hugging Face hub",
        )
    ]
