"""What a trial changes in a config: keys that would be slow, would leave the machine, or would not fit small models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

STEPS = 3
LEFT_OUT = {
    "adapter_name_or_path": "adapters do not fit a shrunken model",
    "ref_model_adapters": "adapters do not fit a shrunken model",
    "reward_model_adapters": "adapters do not fit a shrunken model",
    "resume_from_checkpoint": "there is nothing to go on from",
    "tokenized_path": "it keeps the data of the run itself",
    "push_to_hub": "a trial is not published",
    "export_hub_model_id": "a trial is not published",
    "report_to": "a trial is not tracked",
}
INEXACT = frozenset(
    ["bf16", "fp16", "pure_bf16", "tf32", "quantization_bit", "quantization_method", "flash_attn", "deepspeed", "fsdp"]
)
"""What would keep a run from computing in float64 on a CPU."""
EVALUATION = frozenset(
    ["do_eval", "do_predict", "predict_with_generate", "eval_dataset", "val_size", "eval_strategy", "eval_steps"]
)
"""No part of the curve."""
CHECKPOINTS = frozenset(["save_total_limit", "save_only_model", "load_best_model_at_end", "early_stopping_steps"])
"""Would take away what an interrupted run goes on from, or need an evaluation."""


def few_steps(keys: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """The keys of a run, but for a few steps on small models."""
    kept = {key: value for key, value in keys.items() if key not in LEFT_OUT}
    less = {key: steps for key in ("eval_steps",) if key in keys}
    if abs(layers := keys.get("freeze_trainable_layers") or 0) > 1:
        less["freeze_trainable_layers"] = 1 if layers > 0 else -1  # a shrunken model has few
    return (
        kept
        | less
        | {
            "shrink_model": True,
            "max_steps": steps,
            "save_steps": steps,
            "logging_steps": 1,
            "max_samples": min(keys.get("max_samples") or 64, 64),
            "overwrite_output_dir": True,
            "report_to": "none",
        }
    )


def exact(keys: Mapping[str, Any], rows: int, cutoff_len: int) -> dict[str, Any]:
    """The keys of a run, but in float64, with all of its ``rows`` rows in every step."""
    kept = {key: value for key, value in keys.items() if key not in INEXACT | EVALUATION | CHECKPOINTS}
    return few_steps(kept, STEPS) | {
        "save_strategy": "steps",
        "model_dtype": "float64",
        "shrink_hidden_size": 32,
        "shrink_dropout": False,
        "verify_reward": True,
        "max_samples": rows,
        "max_drop": "100%",
        "cutoff_len": min(cutoff_len, 256),
        "learning_rate": 1e-2,  # so that the curve bends: what is wrong in one step shows in the next
        "use_cpu": True,
        "disable_tqdm": True,
    }


def beside(output_dir: str, what: str) -> str:
    """A folder next to the run's own: ``out`` -> ``out-smoke``."""
    path = Path(output_dir)
    return str(path.with_name(f"{path.name}-{what}"))
