"""Keys owned by this plugin."""

from ftk.section import section


@section("dora", enabled_by="use_dora")
class DoraConfig:
    use_dora: bool = False
    """Learn the magnitude of each weight apart from its direction."""
