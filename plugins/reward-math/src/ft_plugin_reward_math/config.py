"""Keys owned by this plugin."""

from ftk.section import section


@section("reward-math")
class RewardMathConfig:
    reward_math_timeout: float = 3.0
    """Seconds that a comparison may take; one that takes longer counts as wrong."""
