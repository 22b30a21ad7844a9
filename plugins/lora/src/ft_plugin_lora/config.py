"""Keys owned by this plugin."""

from dataclasses import field

from ftk.section import section


@section("lora")
class LoraConfig:
    lora_rank: int = 8
    """Rank of the update matrices."""
    lora_alpha: int | None = None
    """Scale of the update, divided by the rank. Twice the rank when not given."""
    lora_dropout: float = 0.0
    """Share of a layer's inputs that the update does not see in a training step."""
    lora_target: list[str] = field(default_factory=lambda: ["all"])
    """Names of layers to adapt, separated by commas; `all` is every linear layer but the output head.

    A name is the last part or parts of a module's path: `q_proj`, `layers.0.mlp.up_proj`. The stacked experts of a
    mixture are no linear layers: `all,experts.gate_up_proj,experts.down_proj` adapts them too.
    """

    lora_fused: bool = True
    """Compute a layer and its update as one product, wherever the result is the same but for rounding.

    Only training does so. A layer that needs more, for dropout, DoRA or quantised weights, computes as peft has it.
    """

    @property
    def alpha(self) -> int:
        return self.lora_alpha if self.lora_alpha is not None else 2 * self.lora_rank
