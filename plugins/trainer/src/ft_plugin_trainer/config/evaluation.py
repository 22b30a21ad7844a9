"""Keys of evaluation."""

from typing import Literal

from ftk.section import section


@section("evaluation")
class EvaluationConfig:
    eval_strategy: Literal["no", "steps", "epoch"] = "no"
    """When to evaluate during training."""
    eval_steps: int | float | None = None
    """Steps between evaluations; below 1, a share of all steps; ``logging_steps`` when unset."""
    eval_delay: int | float = 0
    """Steps or epochs, by ``eval_strategy``, before the first evaluation."""
    eval_on_start: bool = False
    """Evaluate once before training."""
    per_device_eval_batch_size: int = 8
    """Rows that a device sees at once in evaluation. The result does not depend on it."""
    compute_accuracy: bool = False
    """Also measure how often the most likely token is the target."""
    bf16_full_eval: bool = False
    """Evaluate with weights in bfloat16."""
    fp16_full_eval: bool = False
    """Evaluate with weights in float16."""
    load_best_model_at_end: bool = False
    """Return to the best checkpoint after training. Needs ``eval_strategy``."""
    metric_for_best_model: str | None = None
    """Metric that decides which checkpoint is best; the evaluation loss when unset."""
    greater_is_better: bool | None = None
    """Whether a larger value of that metric is better; unset, true unless its name ends in ``loss``."""
