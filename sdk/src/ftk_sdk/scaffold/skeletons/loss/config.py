"""Keys owned by this plugin."""

from ftk.section import section


@section("skeleton-name", enabled_by="skeleton_name_gamma")
class SkeletonNameConfig:
    skeleton_name_gamma: float = 0.0
    """How much less likely tokens count; 0 counts all alike, 2 is usual."""
