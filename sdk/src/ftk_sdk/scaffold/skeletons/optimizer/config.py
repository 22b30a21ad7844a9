"""Keys owned by this plugin."""

from ftk.section import section


@section("skeleton-name")
class SkeletonNameConfig:
    skeleton_name_momentum: float = 0.9
    """How much of the averaged gradient a step keeps."""
