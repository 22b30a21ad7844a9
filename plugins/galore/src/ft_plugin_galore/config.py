"""Keys owned by this plugin."""

from typing import Literal

from ftk.section import section


@section("galore", enabled_by="use_galore")
class GaloreConfig:
    use_galore: bool = False
    """Train with GaLore."""
    galore_target: list[str] | Literal["all"] = "all"
    """Linear layers whose gradients are projected, by parts of their names; ``all``: every one but the output head."""
    galore_rank: int = 16
    """Rank of the projected gradients."""
    galore_update_interval: int = 200
    """Steps between two computations of the projections."""
    galore_scale: float = 2.0
    """Factor on the updates of projected weights."""
    galore_proj_type: Literal["std", "reverse_std", "right", "left", "full"] = "std"
    """Side of a gradient that is projected; ``std``: the smaller one."""
    galore_layerwise: bool = False
    """Update each weight in the backward pass and free its gradient at once."""
