"""Keys owned by this plugin."""

from ftk.section import section


@section("reference-model", enabled_by="ref_model")
class ReferenceModelConfig:
    ref_model: str | None = None
    """The model to compare the policy with, named like `model_name_or_path`. Its starting point when not given."""
    ref_model_adapters: list[str] | None = None
    """Adapters of the reference model: folders or hub ids, separated by commas."""
    ref_model_quantization_bit: int | None = None
    """Load the reference model in 8 or 4 bits, through bitsandbytes."""

    @property
    def is_separate(self) -> bool:
        """Whether the reference is a model of its own rather than the policy's starting point."""
        return bool(self.ref_model or self.ref_model_adapters or self.ref_model_quantization_bit)
