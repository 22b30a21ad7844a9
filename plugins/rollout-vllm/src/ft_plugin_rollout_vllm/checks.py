"""Rules about keys, this plugin's and those that make a policy vLLM cannot follow. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ft_plugin_hf.config import HfConfig
from ft_plugin_peft.config import AdapterConfig
from ftk.problems import Problem

from .config import RolloutVllmConfig

if TYPE_CHECKING:
    from ftk.plan import Plan


def problems_of(plan: Plan) -> Iterator[Problem]:
    own = plan.config[RolloutVllmConfig]
    url, server = own.rollout_vllm_url, "rollout-engine:vllm-server" in plan
    length = own.rollout_vllm_max_length
    rules = [
        ("rollout_vllm_url", url is not None and not url.startswith(("http://", "https://")), "is no address"),
        ("rollout_vllm_timeout", own.rollout_vllm_timeout <= 0, "is not positive"),
        ("rollout_vllm_retries", own.rollout_vllm_retries < 0, "is negative"),
        ("rollout_vllm_concurrency", own.rollout_vllm_concurrency < 1, "must be at least 1"),
        ("rollout_vllm_gpu_util", not 0 < own.rollout_vllm_gpu_util <= 1, "is not a share between 0 and 1"),
        ("rollout_vllm_max_length", length is not None and length < 2, "must be at least 2"),
    ]
    for key, bad, message in rules:
        if bad:
            yield Problem("error", f"{key}={getattr(own, key)!r} {message}", "", key)
    if server and url is None:
        message = "rollouts_engine: vllm-server needs rollout_vllm_url"
        yield Problem("error", message, "set rollout_vllm_url: http://localhost:8000", "rollouts_engine")
    yield from _policy(plan)


def _policy(plan: Plan) -> Iterator[Problem]:
    """vLLM has the model of ``model_name_or_path``, and is given nothing but a LoRA adapter."""
    for adapter in plan.of_kind("adapter"):
        if adapter.name != "lora":
            message = f"vLLM can be handed LoRA adapters only, and finetuning_type is {adapter.name!r}"
            yield Problem("error", message, "set finetuning_type: lora", "finetuning_type")
    if "addon:dora" in plan:
        yield Problem("error", "vLLM cannot apply the magnitudes of DoRA", "unset use_dora", "use_dora")
    shared, names = plan.config[AdapterConfig], plan.config[AdapterConfig].adapter_name_or_path or []
    if shared.additional_target:
        message = "vLLM can be handed LoRA adapters only, and additional_target trains other modules"
        yield Problem("error", message, "unset it", "additional_target")
    if len(names) > 1 or (names and shared.create_new_adapter):
        message = "adapter_name_or_path: adapters would be merged into weights that vLLM does not see"
        yield Problem("error", message, "merge them first with 'ftk export'", "adapter_name_or_path")
    if plan.config[HfConfig].train_from_scratch:
        message = "train_from_scratch starts from weights that vLLM does not see"
        yield Problem("error", message, "unset one of train_from_scratch and rollouts_engine", "train_from_scratch")
