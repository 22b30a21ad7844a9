"""Keys owned by this plugin."""

from ftk.section import section


@section("generate", late=True)
class GenerateConfig:
    do_sample: bool = True
    """Draw each token by its probability; `false` takes the most probable one."""
    temperature: float = 0.95
    """Below 1 probable tokens become more so, above 1 less."""
    top_p: float = 0.7
    """Draw from the most probable tokens that hold this share of the probability."""
    top_k: int = 50
    """Draw from so many of the most probable tokens; 0 for all."""
    num_beams: int = 1
    """Sequences that a beam search follows; 1 for none. An answer found by beams comes in one piece."""
    max_length: int = 1024
    """Longest conversation with its answer, in tokens. Counts when `max_new_tokens` is 0, or alone is not set."""
    max_new_tokens: int = 1024
    """Longest answer, in tokens."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that are there already become less probable."""
    length_penalty: float = 1.0
    """Above 0, a beam search prefers long answers; below 0, short ones."""
    skip_special_tokens: bool = True
    """Leave control tokens out of the text."""


@section("infer", selects={"infer_backend": "engine"}, late=True)
class InferConfig:
    infer_backend: str = "hf"
    """What computes answers: any installed `engine` component."""
    use_kv_cache: bool = True
    """Keep what was computed for earlier tokens: faster, more memory."""
