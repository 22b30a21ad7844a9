"""Keys owned by this plugin."""

from ftk.section import section


# late: its keys are read when training has ended, so nobody may call them unread before.
@section("skeleton-name", enabled_by="skeleton_name_file", late=True)
class SkeletonNameConfig:
    skeleton_name_file: str | None = None
    """File to write the weights to."""
