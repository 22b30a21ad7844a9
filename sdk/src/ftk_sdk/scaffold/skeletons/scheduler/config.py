"""Keys owned by this plugin."""

from ftk.section import section


@section("skeleton-name", enabled_by="skeleton_name_floor")
class SkeletonNameConfig:
    skeleton_name_floor: float | None = None
    """Share of the learning rate that the last step has."""
