"""Keys owned by this plugin."""

from ftk.section import section


@section("rollouts", selects={"rollouts_engine": "rollout-engine"})
class RolloutsConfig:
    rollouts_engine: str | None = None
    """What generates: any installed `rollout-engine`; unset, transformers, with the model that is being trained."""
    rollouts_batch_size: int = 64
    """Completions that transformers generates at once."""
    rollouts_logged: int = 8
    """Completions of each step that are written to `rollouts.jsonl`; -1 for all."""
