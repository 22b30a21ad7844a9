"""Keys owned by this plugin."""

from ftk.section import section


@section("dft", enabled_by="use_dft_loss")
class DftConfig:
    use_dft_loss: bool = False
    """Weight the loss of each token by the probability that the model gives it."""
