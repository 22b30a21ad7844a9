"""What this plugin offers. Imports nothing heavy."""

from ftk.component import Component
from ftk.markers import hookimpl


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="source",
            name="openmind",
            target="ft_plugin_source_openmind.hub:OpenMindSource",
            summary="Rows of a dataset on Modelers",
            needs=("openmind",),
        )
    ]
