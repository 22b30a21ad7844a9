"""Keys owned by this plugin."""

from ftk.section import section


@section("cpo")
class CpoConfig:
    cpo_alpha: float = 1.0
    """Weight of the supervised loss of the chosen answer, a mean over its tokens."""
