"""What each kind of plugin needs beside its skeleton."""

from __future__ import annotations

from dataclasses import dataclass

from ftk import __version__


def _within(dist: str) -> str:
    """The range of one minor version, which is what a plugin is written for."""
    major, minor, _ = __version__.split(".")
    return f"{dist}>={major}.{minor},<{major}.{int(minor) + 1}"


@dataclass(frozen=True, slots=True)
class Skeleton:
    summary: str
    plugins: tuple[str, ...] = ()
    """Plugins whose sections or code it imports."""
    packages: tuple[str, ...] = ()

    @property
    def dependencies(self) -> tuple[str, ...]:
        return (*map(_within, ("ftk-kernel", *self.plugins)), *self.packages)


_TORCH, _TRANSFORMERS = "torch>=2.6", "transformers>=5.17"

KINDS = {
    "adapter": Skeleton("Train only parameters whose names match", (), (_TRANSFORMERS,)),
    "addon": Skeleton("Dropout on the input embeddings", (), (_TORCH, _TRANSFORMERS)),
    "optimizer": Skeleton(
        "Steps of equal size in the direction of the averaged gradient", ("ft-plugin-trainer",), (_TORCH,)
    ),
    "scheduler": Skeleton("A learning rate that falls in a straight line to a floor", (), (_TORCH,)),
    "loss": Skeleton("A loss that counts likely tokens less", (), (_TORCH,)),
    "stage": Skeleton(
        "Learn the last answer of each conversation",
        ("ft-plugin-data", "ft-plugin-trainer"),
        (_TRANSFORMERS,),
    ),
    "template": Skeleton("A prompt format", ("ft-plugin-templates",)),
    "tool-parser": Skeleton("Calls as JSON in a tag with the tool's name", ("ft-plugin-tool-parsers",)),
    "format": Skeleton("Rows with a question and an answer"),
    "source": Skeleton("Rows from a table of an SQLite file", (), ("datasets>=4",)),
    "loader": Skeleton("Models from a local folder", (), (_TRANSFORMERS,)),
    "hub": Skeleton("Models that a folder keeps by name", ("ft-plugin-hf",)),
    "engine": Skeleton("The most likely answer, token by token", ("ft-plugin-generate",), (_TORCH, _TRANSFORMERS)),
    "exporter": Skeleton("All weights in one file", (), ("safetensors>=0.5", _TRANSFORMERS)),
    "tracker": Skeleton("How runs ended, as lines of JSON"),
}
