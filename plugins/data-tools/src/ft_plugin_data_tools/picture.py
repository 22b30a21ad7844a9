"""The lengths of sequences as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from .report import bins
from .whole import written_whole

BINS = 60


def draw(lengths: np.ndarray, targets: np.ndarray, cutoff_len: int, path: Path) -> None:
    """Histograms of tokens and of tokens with loss, written whole or not at all. Raises RunError."""
    parts = [("tokens in a sequence", lengths, "tab:blue"), ("of them with loss", targets, "tab:green")]
    parts = [part for part in parts if len(part[1])]
    figure = Figure(figsize=(8, 3.2 * len(parts)), layout="constrained")
    for number, (title, counts, colour) in enumerate(parts, start=1):
        axes = figure.add_subplot(len(parts), 1, number, xlabel=title, ylabel="sequences")
        height, edges = bins(counts, BINS)
        axes.stairs(height, edges, fill=True, color=colour, alpha=0.75)
        axes.axvline(float(np.median(counts)), color="black", linewidth=1, label=f"median {np.median(counts):g}")
        if counts.max() >= cutoff_len / 2:
            axes.axvline(cutoff_len, color="tab:red", linestyle="--", linewidth=1, label=f"cutoff_len {cutoff_len}")
        axes.legend()
        axes.grid(alpha=0.3)
    with written_whole(path) as file:
        figure.savefig(file, format=path.suffix[1:], dpi=120)
