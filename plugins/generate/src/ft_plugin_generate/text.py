"""From token ids to text, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

INCOMPLETE = "\ufffd"
"""What a decoder writes for bytes that are not yet a character."""


def decoded(ids: Iterable[int], decode: Callable[[list[int]], str]) -> Iterator[str]:
    """Text as soon as it is certain; joined, the pieces are the decoded whole.

    Each piece is decoded together with the one before it, because what a token means can depend on its left neighbour
    (a space, the first bytes of a character), and because decoding everything each time would take ever longer.
    """
    before: list[int] = []
    new: list[int] = []
    said = ""
    for token in ids:
        new.append(token)
        text = decode(before + new)
        if len(text) > len(said) and not text.endswith(INCOMPLETE):
            yield text[len(said) :]
            before, new = new, []
            said = decode(before)
    if new and (rest := decode(before + new)[len(said) :]):
        yield rest


def until(pieces: Iterable[str], stops: Sequence[str]) -> Iterator[str]:
    """The text before the first of the stop strings, which may begin in one piece and end in another."""
    stops = [stop for stop in stops if stop]
    held = ""
    for piece in pieces:
        held += piece
        found = [at for stop in stops if (at := held.find(stop)) >= 0]
        if found:
            if held[: min(found)]:
                yield held[: min(found)]
            return
        keep = max((n for stop in stops for n in range(1, len(stop)) if held.endswith(stop[:n])), default=0)
        if ready := held[: len(held) - keep]:
            yield ready
        held = held[len(held) - keep :]
    if held:
        yield held
