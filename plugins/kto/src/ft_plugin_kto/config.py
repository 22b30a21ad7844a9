"""Keys owned by this plugin."""

from typing import Literal

from ftk.section import section


@section("kto")
class KtoConfig:
    kto_loss: Literal["kto", "apo_zero_unpaired"] = "kto"
    """`kto`, or `apo_zero_unpaired`, which compares answers with the reference alone."""
    kto_chosen_weight: float = 1.0
    """Weight of the loss of good answers."""
    kto_rejected_weight: float = 1.0
    """Weight of the loss of bad answers."""
