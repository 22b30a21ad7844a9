"""Keys that stages which learn from preferences share."""

from dataclasses import field
from typing import Literal

from ftk.section import section


@section("preference")
class PreferenceConfig:
    pref_beta: float = 0.1
    """How near the policy stays to its reference: the larger, the nearer. `ipo` calls it tau."""
    pref_loss: list[str] = field(default_factory=lambda: ["sigmoid"])
    """Losses of `stage: dpo`, separated by commas: any installed `preference-loss` component."""
    pref_loss_weights: list[float] | None = None
    """What each loss of `pref_loss` is multiplied by; 1 when not given."""
    pref_ftx: float = 0.0
    """Weight of the supervised loss of the chosen answer, a mean over its tokens, beside the other losses."""
    pref_bco_weight: float = 0.0
    """Weight w of the loss of binary classifier optimisation: with l of `pref_loss`, `(l + w bco) / (1 + w)`."""
    dpo_label_smoothing: float = 0.0
    """How likely a pair is the wrong way round, below 0.5; for `sigmoid`, `robust`, `exo_pair` and `aot`."""
    ld_alpha: float | None = None
    """How much tokens count that only the longer answer of a pair has, from 0 to 1. Like others when not given."""
    pref_shared_prompt: bool | Literal["auto"] = "auto"
    """Compute the prompt once for both answers: `auto` where the model's attention allows it and it is less work."""
    pref_dropout: bool = False
    """Keep dropout on. Off by default, so that a policy which has not learnt anything equals its reference."""
    precompute_ref_log_probs: bool = False
    """Compute the reference's log-probabilities once, before training, and keep them in `output_dir`."""
