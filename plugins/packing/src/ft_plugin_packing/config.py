"""Keys owned by this plugin."""

from typing import Literal

from ftk.section import section


@section("packing")
class PackingConfig:
    packing: bool | None = None
    """Join documents to sequences of up to `cutoff_len` tokens, in which none can see another. Not set means no."""
    neat_packing: bool = False
    """Another name of `packing: true`."""
    packing_mode: Literal["isolated", "concatenated"] = "isolated"
    """With `concatenated`, documents run into each other: every token sees all before it. For `stage: pt` only."""

    @property
    def packs(self) -> bool:
        return bool(self.packing or self.neat_packing)
