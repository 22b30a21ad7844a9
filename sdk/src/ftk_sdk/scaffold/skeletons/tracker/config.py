"""Keys owned by this plugin."""

from ftk.section import section


@section("skeleton-name", enabled_by="skeleton_name_file")
class SkeletonNameConfig:
    skeleton_name_file: str | None = None
    """File to which a line is added when a run ends."""
