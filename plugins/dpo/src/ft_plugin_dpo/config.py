"""Keys owned by this plugin. The others are those of ft-plugin-preference."""

from ftk.section import section


@section("dpo")
class DpoConfig:
    discopop_tau: float = 0.05
    """Temperature at which the loss `discopop` goes over from a logistic to an exponential one."""
