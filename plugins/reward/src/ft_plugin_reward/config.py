"""Keys owned by this plugin."""

from typing import Literal

from ftk.section import section


@section("reward", enabled_by="reward_model")
class RewardConfig:
    reward_model: str | None = None
    """What scores answers: a reward model or its adapter, as a folder or hub id, or the address of a server."""
    reward_model_type: Literal["auto", "full", "lora", "api"] = "auto"
    """What `reward_model` is: a whole model, an adapter of `model_name_or_path`, or a server.

    `auto` tells by the files that are there.
    """
    reward_model_adapters: list[str] | None = None
    """Adapters of the reward model: folders or hub ids, separated by commas."""
    reward_model_quantization_bit: int | None = None
    """Load the reward model in 8 or 4 bits, through bitsandbytes."""
    reward_batch_size: int = 16
    """Answers that a reward model scores at once, or that are sent to a server in one request."""
    reward_api_timeout: float = 30.0
    """Seconds that one request to a server may take."""
    reward_api_retries: int = 3
    """How often a request that failed is sent again, after 1, 2, 4, ... seconds."""
