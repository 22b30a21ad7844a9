"""What this plugin offers. Imports nothing heavy."""

from ftk.component import Component
from ftk.markers import hookimpl


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="tool-parser",
            name="skeleton-name",
            target="ft_plugin_skeleton_name.parser:SkeletonName",
            summary="SUMMARY",
        )
    ]
