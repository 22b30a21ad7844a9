"""Keys owned by this plugin."""

from ftk.section import section


@section("rm")
class RmConfig:
    rm_margin_column: str | None = None
    """Column that says by how much the chosen answer is better: its score must exceed the other's by so much."""
    rm_answers_column: str | None = None
    """Column with a list of answers, the best first, in place of a chosen and a rejected one: each two make a pair."""
    rm_center_coefficient: float = 0.0
    """Weight of a loss that pulls the scores of each pair towards a mean of 0."""


@section("rm-classifier", enabled_by="rm_export_dir", late=True)
class ClassifierConfig:
    rm_export_dir: str | None = None
    """Folder for the reward model as a sequence classifier with one label, which other programs can serve."""
