"""Whether good and bad answers weigh about the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datasets import Dataset, IterableDataset

if TYPE_CHECKING:
    from ftk.run import Run

BOUNDS = (1.0, 4 / 3)
"""Weight of all good answers over that of all bad ones: equation 8 of arXiv:2402.01306 (section 4.2)."""


def tell_one_sided(run: Run, rows: Dataset | IterableDataset) -> bool:
    """Warn where there are good answers only, or bad ones only. What a stream will bring is not known."""
    if not isinstance(rows, Dataset):
        return False
    verdicts = set(rows["desirable"])
    if len(verdicts) == 1:
        side = "good" if verdicts.pop() else "bad"
        run.logger.warning("all %d answers are %s ones: nothing tells what to do instead", len(rows), side)
        return True
    return False


def tell_imbalance(run: Run, rows: Dataset | IterableDataset, chosen_weight: float, rejected_weight: float) -> None:
    """Warn, with weights that would do, where one side outweighs the other."""
    if tell_one_sided(run, rows) or not isinstance(rows, Dataset):
        return
    good = sum(rows["desirable"])
    bad = len(rows) - good
    low, high = BOUNDS
    ratio = (good * chosen_weight) / (bad * rejected_weight) if rejected_weight else float("inf")
    if low - 1e-6 <= ratio <= high + 1e-6:
        return
    chosen, rejected = rejected_weight * bad / good, chosen_weight * good / bad
    advice = f"kto_chosen_weight: {chosen:.2f}" if good > bad else f"kto_rejected_weight: {rejected:.2f}"
    run.logger.warning(
        "%d good and %d bad answers weigh %.2f to 1, where 1 to %.2f is advised: set %s", good, bad, ratio, high, advice
    )
