"""Keys owned by this plugin."""

from ftk.section import section


@section("eaft", enabled_by="use_eaft_loss")
class EaftConfig:
    use_eaft_loss: bool = False
    """Weight the loss of each token by how uncertain the model is there."""
    eaft_alpha: float = 1.0
    """Power of the uncertainty that is the weight; 0 weighs all tokens alike."""
