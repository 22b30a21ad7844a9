"""Keys owned by this plugin."""

from typing import Any

from ftk.section import section


@section("rollout_vllm")
class RolloutVllmConfig:
    rollout_vllm_url: str | None = None
    """Address of the server that `rollouts_engine: vllm-server` asks, such as `http://localhost:8000`."""
    rollout_vllm_adapter_dir: str | None = None
    """Folder that the run writes adapters to and vLLM reads them from; `vllm` in `output_dir` when not given."""
    rollout_vllm_timeout: float = 600.0
    """Seconds that the server may take for the completions of one prompt."""
    rollout_vllm_retries: int = 3
    """How often a request is sent again that failed in a way that may pass."""
    rollout_vllm_concurrency: int = 64
    """Prompts that the server is asked about at once."""
    rollout_vllm_gpu_util: float = 0.3
    """Share of the accelerator's memory that vLLM takes in the training process."""
    rollout_vllm_max_length: int | None = None
    """Longest prompt with its completion for vLLM in the training process; what the model takes when not given."""
    rollout_vllm_options: dict[str, Any] | None = None
    """More arguments of `vllm.LLM` for the training process, as a mapping."""
