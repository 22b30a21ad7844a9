"""Keys owned by this plugin."""

from ftk.section import section


@section("sft")
class SftConfig:
    z_loss_coefficient: float = 0.0
    """Weight of `log(Z)^2` beside the loss of each token, which keeps logits small; PaLM takes 1e-4.

    Z is the normaliser of the softmax.
    """
