"""The key of early stopping."""

from ftk.section import section


@section("early-stopping", enabled_by="early_stopping_steps")
class EarlyStoppingConfig:
    early_stopping_steps: int | None = None
    """Stop after so many evaluations in a row without a better ``metric_for_best_model``."""
