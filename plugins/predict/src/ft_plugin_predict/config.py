"""Keys owned by this plugin."""

from ftk.section import section


@section("predict")
class PredictConfig:
    predict_with_generate: bool = False
    """Generate answers whenever the model is evaluated, and score them beside the loss."""
    generation_max_length: int | None = None
    """Longest prompt with its answer, in tokens; `max_new_tokens` counts when this is not given."""
    generation_num_beams: int | None = None
    """Sequences that a beam search follows; `num_beams` when not given."""
