"""Keys owned by this plugin."""

from ftk.section import section


@section("distill")
class DistillConfig:
    teacher_model: str | None = None
    """The model to learn from, named like `model_name_or_path`; its vocabulary must be the student's."""
    distill_beta: float = 0.5
    """Which divergence: 0 is KL(teacher || student), 1 is KL(student || teacher), between them Jensen-Shannon's."""
    distill_temperature: float = 1.0
    """What the logits of both models are divided by."""
    distill_on_policy: float = 0.0
    """Share of rows whose answer the student gives itself, for the teacher to judge."""
    distill_top_k: int | None = None
    """Keep the teacher's so many most likely tokens on disk, and train without it.

    The probability of all other tokens is kept as one number, so the divergence is exact where this is the vocabulary.
    Unset, the teacher stays in memory beside the student and predicts in full.
    """
    distill_cache: str | None = None
    """Folder for what `distill_top_k` keeps, found again by other runs. In the output folder when not given."""
