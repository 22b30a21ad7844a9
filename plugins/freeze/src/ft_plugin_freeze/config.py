"""Keys owned by this plugin."""

from dataclasses import field

from ftk.section import section


@section("freeze")
class FreezeConfig:
    freeze_trainable_layers: int = 2
    """How many of the model's layers train: the last ones, or the first ones when negative."""
    freeze_trainable_modules: list[str] = field(default_factory=lambda: ["all"])
    """Parts of those layers that train, separated by commas: `mlp`, `self_attn`, `all`."""
    freeze_extra_modules: list[str] | None = None
    """Parts outside the layers that train too, separated by commas: `embed_tokens`, `norm`, `lm_head`, `all`."""
