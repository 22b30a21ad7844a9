"""Keys owned by this plugin."""

from ftk.section import section


@section("asft", enabled_by="use_asft_loss")
class AsftConfig:
    use_asft_loss: bool = False
    """Use DFT's loss and stay near the reference model."""
    asft_alpha: float = 0.1
    """Weight of the divergence from the reference model."""
