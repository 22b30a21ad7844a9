"""Keys of training in several processes."""

from typing import Any

from ftk.section import section


@section("processes")
class ProcessConfig:
    ddp_backend: str | None = None
    """Communication backend: ``nccl``, ``gloo``, ``mpi``, ``xccl`` or ``hccl``."""
    ddp_timeout: int = 1800
    """Seconds after which a process stops waiting for the others."""
    ddp_find_unused_parameters: bool | None = None
    """Look for trained parameters without a gradient in each step."""
    ddp_bucket_cap_mb: int | None = None
    """Size of the buckets in which gradients are exchanged."""
    ddp_broadcast_buffers: bool | None = None
    """Copy the first process's buffers to all in each forward pass."""
    ddp_static_graph: bool | None = None
    """Promise that every step uses the same parameters in the same order."""
    accelerator_config: dict[str, Any] | str | None = None
    """Settings of accelerate, or the path of a JSON file with them."""
    parallelism_config: dict[str, Any] | None = None
    """Sizes of accelerate's parallelism: ``dp_shard_size``, ``tp_size``, ``cp_size``, ..."""
