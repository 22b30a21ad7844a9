"""Keys owned by this plugin."""

from typing import Literal

from ftk.section import section


@section("grpo", selects={"grpo_loss": "policy-loss", "grpo_advantage": "advantage"})
class GrpoConfig:
    grpo_num_generate_samples: int = 8
    """Completions of each prompt, which are compared with each other."""
    grpo_beta: float = 0.0
    """Weight of the divergence from the reference model; 0 needs no reference."""
    grpo_unbiased_kl: bool = True
    """Weigh that divergence by each token's ratio, so that its gradient is that of the true divergence."""
    grpo_loss: str | None = None
    """What is done with advantages: any installed `policy-loss`; unset, the one of the stage's paper."""
    grpo_advantage: str | None = None
    """How rewards become advantages: any installed `advantage`; unset, the one of the stage's paper."""
    grpo_epsilon: float = 0.2
    """How far the probability of a token may fall before its gradient is clipped."""
    grpo_epsilon_high: float | None = None
    """How far it may rise; as far as it may fall when not given."""
    grpo_num_iterations: int = 1
    """Optimizer steps made of the completions of each batch of prompts."""
    grpo_scale_rewards: Literal["group", "batch", "none"] = "group"
    """What rewards, less the mean of their group, are divided by: the deviation in the group or in the whole batch."""
    grpo_mask_truncated: bool = False
    """Learn nothing from completions that were cut off at `max_new_tokens`."""
    grpo_micro_batch_size: int | None = None
    """Completions that a device trains on at once; `per_device_train_batch_size` when not given."""
