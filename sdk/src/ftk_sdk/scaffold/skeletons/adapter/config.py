"""Keys owned by this plugin."""

from dataclasses import field

from ftk.section import section


@section("skeleton-name")
class SkeletonNameConfig:
    skeleton_name_train: list[str] = field(default_factory=lambda: ["norm"])
    """Parts of the names of parameters that train, separated by commas."""
