"""Keys owned by this plugin."""

from ftk.section import section

PREFIX = "skeleton-name:"
"""What names of its models begin with."""


@section("skeleton-name")
class SkeletonNameConfig:
    skeleton_name_root: str = "models"
    """Folder that holds a folder for each model."""
