"""What this plugin offers. Imports nothing heavy."""

from ftk.component import Component
from ftk.markers import hookimpl


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="stage",
            name="skeleton-name",
            target="ft_plugin_skeleton_name.stage:SkeletonName",
            summary="SUMMARY",
            requires=("trainer:transformers",),
        )
    ]
