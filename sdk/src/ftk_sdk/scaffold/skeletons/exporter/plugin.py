"""What this plugin offers. Imports nothing heavy."""

from ftk.component import Component
from ftk.markers import hookimpl


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="exporter",
            name="skeleton-name",
            target="ft_plugin_skeleton_name.export:SkeletonName",
            summary="SUMMARY",
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_skeleton_name.config:SkeletonNameConfig"]
