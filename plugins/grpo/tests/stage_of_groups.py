"""What the contract of a stage is given where the stage compares completions of a prompt with each other."""

from ftk.contracts import Example

KEYS = {
    "template": "chatml",
    "reward_funcs": ["format"],
    "rewards_format": ".*[aeiou].*",
    "max_new_tokens": 6,
    "grpo_num_generate_samples": 4,
    "grpo_beta": 0.1,
}
EXAMPLE = Example(messages=[{"role": "user", "content": "hello"}])
LOSS_ON: dict[str, list[str]] = {}
"""Completions are drawn later."""
