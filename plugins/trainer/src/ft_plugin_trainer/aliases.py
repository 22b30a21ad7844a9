"""Old spellings of training keys: of transformers 4 and of LLaMA-Factory's command lines."""

import math
from typing import Any

from ftk.aliases import Alias


def warmup_steps_of(ratio: Any) -> float:
    """A share of all steps as ``warmup_steps`` takes it: a number below 1, where 1 would be one step."""
    share = float(ratio)
    if not 0 <= share <= 1:
        raise ValueError(f"warmup_ratio={ratio!r} is not between 0 and 1")
    return min(share, math.nextafter(1.0, 0.0))


def _renamed(old: str, new: str, **more: Any) -> Alias:
    return Alias(old=old, new=new, note=f"the old name of {new!r}", **more)


def _gone(old: str, why: str) -> Alias:
    return Alias(old=old, new=None, note=f"ignored: {why}")


_SUMS = "evaluation keeps sums of losses and never holds predictions"
_AUTOCAST = "mixed precision always uses torch's own autocast"
_TPU = "transformers 5 has no settings for TPUs"

ALIASES = [
    _renamed("warmup_ratio", "warmup_steps", convert="ft_plugin_trainer.aliases:warmup_steps_of", silent=True),
    _renamed("evaluation_strategy", "eval_strategy", values={False: "no"}, silent=True),
    _renamed("gradient_checkpointing", "activation_checkpointing", silent=True),
    _renamed("gradient_checkpointing_kwargs", "activation_checkpointing_kwargs", silent=True),
    _renamed("group_by_length", "train_sampling_strategy", values={True: "group_by_length", False: "random"}),
    _renamed("adafactor", "optim", values={True: "adafactor", False: "adamw_torch_fused"}),
    _renamed("no_cuda", "use_cpu"),
    _renamed("per_gpu_train_batch_size", "per_device_train_batch_size"),
    _renamed("per_gpu_eval_batch_size", "per_device_eval_batch_size"),
    _renamed("push_to_hub_model_id", "hub_model_id"),
    _renamed("push_to_hub_token", "hub_token"),
    _renamed("torchdynamo", "torch_compile_backend"),
    _gone("push_to_hub_organization", "write the organisation into 'hub_model_id'"),
    _gone("include_tokens_per_second", "set 'include_num_input_tokens_seen' or 'include_effective_tokens_per_second'"),
    _gone("average_tokens_across_devices", "the loss is always the mean over the targets of all processes"),
    _gone("save_safetensors", "weights are always saved as safetensors"),
    _gone("logging_dir", "each tracker has a setting of its own, such as the variable TENSORBOARD_LOGGING_DIR"),
    _gone("local_rank", "the launcher tells each process its rank"),
    _gone("use_mps_device", "an Apple GPU is used when there is one"),
    _gone("use_ipex", "torch has what it brought"),
    _gone("past_index", "transformers 5 has no such setting"),
    _gone("mp_parameters", "transformers 5 has no such setting"),
    _gone("ray_scope", "transformers 5 has no such setting"),
    _gone("jit_mode_eval", "set 'torch_compile'"),
    _gone("use_legacy_prediction_loop", "there is one evaluation loop"),
    _gone("remove_unused_columns", "the stage's encoder says which columns there are"),
    _gone("label_names", "the stage's encoder says which columns are labels"),
    *(_gone(key, _AUTOCAST) for key in ("half_precision_backend", "fp16_backend", "fp16_opt_level")),
    *(_gone(key, _TPU) for key in ("tpu_num_cores", "tpu_metrics_debug")),
    *(
        _gone(key, _SUMS)
        for key in (
            "prediction_loss_only",
            "eval_accumulation_steps",
            "eval_do_concat_batches",
            "eval_use_gather_object",
            "include_for_metrics",
            "include_inputs_for_metrics",
            "batch_eval_metrics",
        )
    ),
]
"""``fsdp_min_num_params`` and ``fsdp_transformer_layer_cls_to_wrap`` belong to the owner of ``fsdp_config``."""
