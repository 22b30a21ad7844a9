"""Keys owned by this plugin."""

from ftk.section import section


@section("skeleton-name", enabled_by="skeleton_name_rate")
class SkeletonNameConfig:
    skeleton_name_rate: float = 0.0
    """Share of the embeddings' values that a training step does not see."""
