"""Keys owned by this plugin."""

from ftk.section import section


@section("simpo")
class SimpoConfig:
    simpo_gamma: float = 0.5
    """By how much the reward of the chosen answer shall exceed that of the rejected one."""
