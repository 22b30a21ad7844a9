"""Keys owned by this plugin."""

from ftk.section import section


@section("muon", enabled_by="use_muon")
class MuonConfig:
    use_muon: bool = False
    """Train hidden matrices with Muon and all other parameters with AdamW. The same as ``optim: muon``."""
