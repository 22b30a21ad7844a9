"""What this plugin offers. Imports nothing heavy."""

from ftk.component import Component
from ftk.markers import hookimpl


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="source",
            name="modelscope",
            target="ft_plugin_source_modelscope.hub:ModelScopeSource",
            summary="Rows of a dataset on ModelScope",
            needs=("modelscope",),
        )
    ]
