"""Keys owned by this plugin."""

from ftk.section import section


@section("rewards")
class RewardsConfig:
    reward_funcs: list[str] | None = None
    """Rewards that are added up: names of `reward` components, or `file.py:function`; commas between several."""
    reward_weights: list[float] | None = None
    """A factor for each of `reward_funcs`; 1 each when not given."""
    reward_timeout: float = 60.0
    """Seconds that a reward may take for all completions of a step; 0 for no limit."""
    rewards_format: str = r"<think>.*?</think>\s*\S.*"
    """Regular expression that the reward `format` wants the whole completion to match; a dot matches line ends too."""
    rewards_length: int = 400
    """Characters up to which the reward `length` is 1; it falls to 0 at twice as many."""
    rewards_schema: str | None = None
    """JSON file with the schema of the reward `json_schema`, for rows without a column `schema`."""
