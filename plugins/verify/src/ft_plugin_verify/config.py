"""Keys owned by this plugin."""

from ftk.section import section


@section("shrink", enabled_by="shrink_model")
class ShrinkConfig:
    shrink_model: bool = False
    """Use a small model of the same architecture with random weights in place of every model that the run names."""
    shrink_hidden_size: int = 64
    """Hidden size of the small model, which its other sizes follow."""
    shrink_dropout: bool = True
    """Keep the model's dropout; without it, a run draws nothing that depends on how a batch is cut."""
    verify_reward: bool = False
    """Add a reward that is a number from 0 to 1 drawn from a completion's text: a random model may earn no other."""
