"""The keys against the installed transformers."""

import dataclasses
import typing

import pytest
import torch
from transformers import Seq2SeqTrainingArguments, TrainingArguments
from transformers.trainer_utils import SchedulerType

from ft_plugin_trainer.aliases import ALIASES
from ft_plugin_trainer.config import FORWARDED, OURS, TrainerConfig
from ftk.problems import ConfigError, RunError
from ftk.section import default_of
from ftk_sdk.testing import make_plan, make_run

ELSEWHERE = {
    "output_dir", "seed", "do_train", "do_eval",  # the kernel
    "do_predict",
    "deepspeed", "fsdp", "fsdp_config", "neftune_noise_alpha", "use_liger_kernel", "liger_kernel_config",
    "sortish_sampler", "predict_with_generate", "generation_max_length", "generation_num_beams", "generation_config",
}  # fmt: skip
FIXED = {"remove_unused_columns", "label_names"}
OWN_DEFAULT = {"logging_nan_inf_filter"}
REMOVED = {
    "warmup_ratio", "group_by_length", "logging_dir", "save_safetensors", "no_cuda", "use_mps_device",
    "half_precision_backend", "fp16_backend", "fp16_opt_level", "include_inputs_for_metrics",
    "include_tokens_per_second", "jit_mode_eval", "torchdynamo", "adafactor", "past_index",
    "per_gpu_train_batch_size", "per_gpu_eval_batch_size", "push_to_hub_model_id", "push_to_hub_organization",
    "push_to_hub_token", "ray_scope", "tpu_num_cores", "tpu_metrics_debug", "use_legacy_prediction_loop",
    "mp_parameters", "evaluation_strategy",
}  # fmt: skip
"""Keys of transformers 4.57 that 5.23 no longer has, but for those of other owners."""


def fields(cls):
    return {f.name: f for f in dataclasses.fields(cls)}


KEYS = {name: f for section in FORWARDED for name, f in fields(section).items()}
UPSTREAM = fields(Seq2SeqTrainingArguments)


def test_every_key_of_transformers_has_an_owner_or_an_alias():
    accounted = KEYS.keys() | {alias.old for alias in ALIASES} | ELSEWHERE | FIXED
    assert sorted(UPSTREAM.keys() - accounted) == [], "new in transformers: own these keys"
    assert sorted((ELSEWHERE | FIXED) - UPSTREAM.keys()) == []


def test_no_key_is_passed_on_that_transformers_does_not_have():
    assert sorted(KEYS.keys() - UPSTREAM.keys() - OURS) == [], "gone from transformers: make these aliases"


def test_defaults_are_those_of_transformers():
    different = {}
    for name in KEYS.keys() & UPSTREAM.keys() - OWN_DEFAULT:
        ours, theirs = default_of(KEYS[name]), default_of(UPSTREAM[name])
        theirs = getattr(theirs, "value", theirs)
        if ours != theirs:
            different[name] = (ours, theirs)
    assert different == {}


def test_every_schedule_of_transformers_can_be_named():
    choices = typing.get_args(typing.get_type_hints(TrainerConfig)["lr_scheduler_type"])
    assert list(choices) == [member.value for member in SchedulerType]


def test_every_removed_key_is_still_understood():
    assert sorted(REMOVED - {alias.old for alias in ALIASES}) == []


def run_of(keys):
    return make_run(keys, components=["trainer:transformers"])


def arguments(keys):
    return run_of(keys).training_args()


def test_only_what_the_user_set_is_passed_on():
    assert arguments({"learning_rate": "1e-4", "logging_steps": 10, "plot_loss": True}) == {
        "learning_rate": 1e-4,
        "logging_steps": 10,
        "use_cpu": True,
    }


def test_keys_of_files_that_people_have_reach_transformers(tmp_path):
    keys = {
        "output_dir": str(tmp_path),
        "ddp_timeout": 180000000,
        "include_num_input_tokens_seen": True,
        "report_to": "none",
        "save_only_model": False,
        "optim": "adamw_torch",
        "lr_scheduler_type": "cosine",
        "lr_scheduler_kwargs": {"num_cycles": 0.5},
        "resume_from_checkpoint": None,
        "plot_loss": True,
        "bf16": True,
        "warmup_ratio": 0.1,
        "gradient_checkpointing": True,
        "evaluation_strategy": False,
        "save_strategy": "no",
        "per_device_train_batch_size": 1,
        "num_train_epochs": 3.0,
        "learning_rate": "1.0e-4",
    }
    args = TrainingArguments(output_dir=str(tmp_path), **arguments(keys))
    assert args.get_warmup_steps(1000) == 100
    assert args.activation_checkpointing is True
    assert args.eval_strategy == args.save_strategy == "no"
    assert args.report_to == []
    assert args.ddp_timeout == 180000000
    assert args.include_num_input_tokens_seen == "all"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"warmup_ratio": 0.03}, {"warmup_steps": 0.03}),
        ({"warmup_ratio": 0}, {"warmup_steps": 0}),
        ({"evaluation_strategy": "epoch"}, {"eval_strategy": "epoch"}),
        ({"group_by_length": True}, {"train_sampling_strategy": "group_by_length"}),
        ({"group_by_length": False}, {"train_sampling_strategy": "random"}),
        ({"adafactor": True}, {"optim": "adafactor"}),
        ({"no_cuda": True}, {"use_cpu": True}),
        ({"per_gpu_train_batch_size": 2}, {"per_device_train_batch_size": 2}),
        ({"per_gpu_eval_batch_size": 2}, {"per_device_eval_batch_size": 2}),
        ({"push_to_hub_model_id": "me/x"}, {"hub_model_id": "me/x"}),
        ({"push_to_hub_token": "t"}, {"hub_token": "t"}),
        ({"gradient_checkpointing_kwargs": {"use_reentrant": False}}, {"activation_checkpointing_kwargs": {"use_reentrant": False}}),
        ({"disable_shuffling": True}, {"train_sampling_strategy": "sequential"}),
    ],
)  # fmt: skip
def test_an_old_key_means_what_it_meant(old, new):
    assert arguments(old) == {"use_cpu": True} | new


def test_the_old_name_of_the_compilers_back_end_is_understood():
    plan = make_plan({"torchdynamo": "inductor"}, components=[])
    assert plan.config[TrainerConfig].torch_compile_backend == "inductor"


def test_a_warmup_over_the_whole_run_is_not_one_step(tmp_path):
    args = TrainingArguments(output_dir=str(tmp_path), **arguments({"warmup_ratio": 1.0}))
    assert args.get_warmup_steps(123457) == 123457


@pytest.mark.parametrize("ratio", [1.5, -0.1])
def test_a_warmup_ratio_outside_of_0_and_1_is_an_error(ratio):
    with pytest.raises(ConfigError, match="is not between 0 and 1"):
        make_plan({"warmup_ratio": ratio}, components=[])


def test_keys_without_effect_are_named_with_the_reason():
    plan = make_plan({"save_safetensors": True, "local_rank": 0, "eval_accumulation_steps": 4}, components=[])
    assert sorted(p.message for p in plan.problems) == [
        "'eval_accumulation_steps' is ignored: evaluation keeps sums of losses and never holds predictions",
        "'local_rank' is ignored: the launcher tells each process its rank",
        "'save_safetensors' is ignored: weights are always saved as safetensors",
    ]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size=0 is not positive"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0 is negative"),
        ({"bf16": True, "fp16": True}, "bf16 and fp16 are both set"),
        ({"label_smoothing_factor": 1.0}, "label_smoothing_factor=1.0 is not between 0 and 1"),
        ({"load_best_model_at_end": True}, "load_best_model_at_end=True needs evaluations during training"),
        ({"early_stopping_steps": 3}, "early_stopping_steps=3 needs evaluations during training"),
        (
            {"load_best_model_at_end": True, "eval_strategy": "epoch"},
            "needs a checkpoint for each evaluation, but save_strategy is not 'epoch'",
        ),
        (
            {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 30, "save_steps": 40},
            "save_steps=40 is not a multiple of eval_steps=30",
        ),
        ({"lr_scheduler_type": "cosin"}, "did you mean 'cosine'"),
        ({"eval_strategy": "step"}, "did you mean 'steps'"),
    ],
)
def test_values_that_cannot_work_are_refused_while_planning(keys, message):
    with pytest.raises(ConfigError, match=message):
        make_plan(keys, components=["trainer:transformers"])


def test_a_checkpoint_that_is_not_there_is_reported_while_planning():
    plan = make_plan({"resume_from_checkpoint": "/no/such"}, components=["trainer:transformers"])
    assert [(p.level, p.message) for p in plan.problems] == [("missing", "there is no checkpoint '/no/such'")]


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator")
def test_float16_without_an_accelerator_is_an_error():
    with pytest.raises(RunError, match="fp16 has no effect without an accelerator"):
        arguments({"fp16": True})
