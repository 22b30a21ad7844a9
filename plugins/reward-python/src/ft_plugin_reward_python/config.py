"""Keys owned by this plugin."""

from ftk.section import section


@section("reward-python")
class RewardPythonConfig:
    reward_python_timeout: float = 5.0
    """Seconds that a test may take, the code before it included."""
    reward_python_memory: int = 512
    """Megabytes that it may allocate."""
    reward_python_workers: int = 4
    """Completions that are tested at the same time."""
