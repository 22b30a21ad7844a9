"""Keys owned by this plugin."""

from ftk.section import section


@section("skeleton-name", enabled_by="skeleton_name_folder")
class SkeletonNameConfig:
    skeleton_name_folder: str | None = None
    """Folder of the model and its tokenizer."""
