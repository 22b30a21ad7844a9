"""Keys of checkpoints, resuming and uploads."""

from typing import Literal

from ftk.section import section


@section("checkpoints")
class CheckpointConfig:
    save_strategy: Literal["no", "steps", "epoch", "best"] = "steps"
    """When to write a checkpoint."""
    save_steps: int | float = 500
    """Steps between checkpoints; below 1, a share of all steps."""
    save_total_limit: int | None = None
    """Checkpoints to keep. The newest and the best one are kept in any case."""
    save_only_model: bool = False
    """Leave the optimizer's state out of checkpoints: smaller, but training cannot be resumed from them."""
    save_on_each_node: bool = False
    """Write checkpoints on every node instead of the first one."""
    enable_jit_checkpoint: bool = False
    """Write a checkpoint when the process is asked to terminate."""
    resume_from_checkpoint: bool | str | None = None
    """Checkpoint to go on from; ``true``: the output folder's last. Unset, the last one is taken when there is any."""
    ignore_data_skip: bool = False
    """Begin with the first rows again when resuming, instead of where the checkpoint stopped."""
    restore_callback_states_from_checkpoint: bool = False
    """Restore callbacks from the checkpoint as they were, whatever the config says now."""
    push_to_hub: bool = False
    """Upload every checkpoint and the result to the Hugging Face hub."""
    hub_model_id: str | None = None
    """Repository to upload to; the output folder's name when unset."""
    hub_strategy: Literal["end", "every_save", "checkpoint", "all_checkpoints"] = "every_save"
    """What to upload, and when."""
    hub_token: str | None = None
    """Token for the upload; the one of ``hf auth login`` when unset."""
    hub_private_repo: bool | None = None
    """Make a new repository private; the account's default when unset."""
    hub_always_push: bool = False
    """Upload although the previous upload has not ended."""
    hub_revision: str | None = None
    """Branch to upload to."""
