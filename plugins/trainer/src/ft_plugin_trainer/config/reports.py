"""Keys of logs, progress and trackers."""

from typing import Literal

from ftk.section import section


@section("reports")
class ReportConfig:
    logging_strategy: Literal["no", "steps", "epoch"] = "steps"
    """When to log the training loss."""
    logging_steps: int | float = 500
    """Steps between log entries; below 1, a share of all steps."""
    logging_first_step: bool = False
    """Also log the first step."""
    logging_nan_inf_filter: bool = False
    """Go on after a NaN or infinite loss and leave it out of the log. Off, such a loss stops the run."""
    log_on_each_node: bool = True
    """Log on every node instead of the first one."""
    log_level: Literal["debug", "info", "warning", "error", "critical", "passive"] = "passive"
    """How much transformers says; ``passive`` leaves its level as it is."""
    log_level_replica: Literal["debug", "info", "warning", "error", "critical", "passive"] = "warning"
    """The same for every process but the first."""
    disable_tqdm: bool | None = None
    """Show no progress bar."""
    include_num_input_tokens_seen: bool | Literal["all", "non_padding", "no"] = "no"
    """Count the tokens that the model has seen: ``all`` (or true) with padding, ``non_padding`` without."""
    include_effective_tokens_per_second: bool = False
    """Report how many tokens a second were trained on, padding left out."""
    report_to: str | list[str] = "none"
    """Experiment trackers of transformers to report to, such as ``wandb`` or ``tensorboard``."""
    run_name: str | None = None
    """Name of the run in trackers."""
    project: str = "huggingface"
    """Project of the run in trackio."""
    trackio_space_id: str | None = None
    """Hugging Face Space that shows trackio's dashboard."""
    trackio_bucket_id: str | None = None
    """Hugging Face bucket that trackio stores its data in."""
    trackio_static_space_id: str | Literal[False] | None = None
    """Read-only Space over that bucket; false: none."""
    skip_memory_metrics: bool = True
    """Leave memory use out of the metrics: measuring it slows training down."""
    debug: str | list[str] = ""
    """Debugging aids of transformers: ``underflow_overflow``."""
