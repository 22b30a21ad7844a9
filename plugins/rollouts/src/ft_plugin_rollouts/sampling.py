"""How completions are drawn, and where they end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """The keys of ``GenerateConfig`` that rollouts take, and the ends of a turn."""

    max_new_tokens: int
    do_sample: bool = True
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """0: all tokens."""
    repetition_penalty: float = 1.0
    use_cache: bool = True
    stop_ids: Sequence[int] = ()
    stop_strings: Sequence[str] = ()
    """Stops that no single token stands for."""


def ended(
    ids: Sequence[int], stop_ids: Sequence[int], stop_strings: Sequence[str], decode: Callable[[Sequence[int]], str]
) -> tuple[list[int], str, bool]:
    """A completion up to its end, its text without what ended it, and whether it has ended at all."""
    last = next((at for at, token in enumerate(ids) if token in stop_ids), None)
    kept = list(ids) if last is None else list(ids[: last + 1])
    text = decode(kept if last is None else kept[:-1])
    found = [at for stop in stop_strings if (at := text.find(stop)) >= 0]
    if not found:
        return kept, text, last is not None
    # The shortest beginning that says a stop: decoding is not a sum over tokens, so it is tried.
    low, high = 1, len(kept)
    while low < high:
        middle = (low + high) // 2
        said = decode(kept[:middle])
        low, high = (low, middle) if any(stop in said for stop in stop_strings) else (middle + 1, high)
    return kept[:low], text[: min(found)], True
