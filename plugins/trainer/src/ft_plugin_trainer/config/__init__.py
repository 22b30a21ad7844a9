"""Keys owned by this plugin, by subject. Their names are those of ``transformers.TrainingArguments``."""

from .checkpoints import CheckpointConfig
from .early_stopping import EarlyStoppingConfig
from .evaluation import EvaluationConfig
from .loading import LoadingConfig
from .plot import PlotConfig
from .processes import ProcessConfig
from .reports import ReportConfig
from .training import TrainerConfig

FORWARDED = (TrainerConfig, EvaluationConfig, CheckpointConfig, ReportConfig, LoadingConfig, ProcessConfig)
"""Sections whose keys are ``TrainingArguments``' own, but for those in ``OURS``."""

OURS = frozenset(
    {
        "pure_bf16",
        "torch_compile",
        "torch_compile_backend",
        "torch_compile_mode",
        "compute_accuracy",
        "resume_from_checkpoint",
        "include_effective_tokens_per_second",
        "disable_shuffling",
        "sort_micro_batches",
    }
)
"""Keys of those sections that ``TrainingArguments`` does not have, or that this plugin acts on itself."""

__all__ = [
    "FORWARDED",
    "OURS",
    "CheckpointConfig",
    "EarlyStoppingConfig",
    "EvaluationConfig",
    "LoadingConfig",
    "PlotConfig",
    "ProcessConfig",
    "ReportConfig",
    "TrainerConfig",
]
