"""Keys owned by this plugin."""

from ftk.section import section


@section("ppo")
class PpoConfig:
    ppo_epochs: int = 4
    """How often each answer is learnt from."""
    ppo_buffer_size: int = 1
    """Global batches of answers that are generated at once, and then learnt from in another order in each epoch."""
    ppo_score_norm: bool = False
    """Scale scores by the mean and the deviation of all scores so far."""
    ppo_whiten_rewards: bool = False
    """Scale the rewards of tokens to a variance of 1 before advantages are made of them."""
    ppo_target: float | None = 6.0
    """Divergence from the reference, in nats per answer, that the KL coefficient is steered to; `null` keeps it."""
    ppo_kl_coeff: float = 0.2
    """What a nat of divergence from the reference costs, at the start; 0 needs no reference."""
    ppo_kl_horizon: int = 10000
    """Answers over which the KL coefficient can change by a fifth."""
    ppo_gamma: float = 1.0
    """Discount of later rewards, per token."""
    ppo_lam: float = 0.95
    """Between 0, where advantages trust the value head, and 1, where they trust what came of an answer."""
    ppo_clip_ratio: float = 0.2
    """How far a token's probability may move before its gradient is clipped."""
    ppo_clip_value: float = 0.2
    """How far a token's value may move before its gradient is clipped."""
    ppo_value_coeff: float = 0.1
    """Weight of the loss of the value head."""
    ppo_missing_eos_penalty: float = 0.0
    """Taken off the score of an answer that was cut off at `max_new_tokens`."""
