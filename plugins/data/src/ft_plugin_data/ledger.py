"""What became of every row: nothing is dropped or cut without being counted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import ceil
from typing import Any

from ftk.problems import RunError

from .limits import drop_limit

SHOWN = 5
"""Places and reasons listed in full; more are only counted."""


@dataclass(slots=True)
class Reason:
    text: str
    """Of the first row; other rows may differ in their numbers."""
    rows: int = 0
    tokens: int = 0
    """How many were cut off, where it is about that."""
    places: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Ledger:
    """The account of one dataset. ``rows == kept + dropped`` always holds."""

    name: str
    rows: int = 0
    kept: int = 0
    dropped: int = 0
    truncated: int = 0
    """Rows of which tokens were cut off; they are among the kept."""
    truncated_tokens: int = 0
    cuts: dict[str, Reason] = field(default_factory=dict)
    """What was cut off, and where."""
    sequences: int = 0
    """Training sequences made of the kept rows."""
    tokens: int = 0
    loss_tokens: int | None = None
    """Tokens that carry loss; ``None`` where the encoding does not tell."""
    reasons: dict[str, Reason] = field(default_factory=dict)

    def keep(self, sequences: int, truncated: int = 0, where: str = "", place: str = "") -> None:
        self.rows, self.kept, self.sequences = self.rows + 1, self.kept + 1, self.sequences + sequences
        if truncated:
            self.truncated, self.truncated_tokens = self.truncated + 1, self.truncated_tokens + truncated
            note(self.cuts, where or "the end", place, tokens=truncated)

    def drop(self, why: str, place: str) -> None:
        self.rows, self.dropped = self.rows + 1, self.dropped + 1
        note(self.reasons, why, place)

    def add(self, part: Ledger) -> None:
        """Take in the account of rows that follow."""
        for name in ("rows", "kept", "dropped", "truncated", "truncated_tokens", "sequences", "tokens"):
            setattr(self, name, getattr(self, name) + getattr(part, name))
        if part.loss_tokens is not None:
            self.loss_tokens = (self.loss_tokens or 0) + part.loss_tokens
        for mine, theirs in ((self.reasons, part.reasons), (self.cuts, part.cuts)):
            for new in theirs.values():
                note(mine, new.text, *new.places, rows=new.rows, tokens=new.tokens)

    def commonest(self) -> list[Reason]:
        return commonest(self.reasons)

    def check(self, max_drop: str | None) -> None:
        """Raises RunError when too many rows were dropped, or when nothing is left to learn from."""
        why = ["; ".join(f"{r.text} ({r.rows} rows: {_places(r)})" for r in self.commonest()[:3])] * bool(self.reasons)
        if not self.sequences:
            message = f"dataset {self.name!r}: none of its {self.rows} rows can be used"
            raise RunError("; most often: ".join([message, *why]), "check its 'formatting' and 'columns'")
        limit = drop_limit(max_drop, self.rows)
        if limit is not None and self.dropped > limit:
            message = f"dataset {self.name!r}: {self.dropped} of {self.rows} rows are unusable, max_drop is {max_drop}"
            raise RunError(
                "; most often: ".join([message, *why]), f"repair the rows, or set max_drop: {self._enough()}"
            )
        if self.loss_tokens == 0:
            message = f"dataset {self.name!r}: not one of its {self.tokens} tokens carries loss"
            raise RunError(message, "check the answers, mask_history and cutoff_len")

    def _enough(self) -> str:
        """The lowest ``max_drop``, in whole percents, under which the run goes on."""
        return f"{ceil(100 * self.dropped / self.rows)}%"

    def as_dict(self) -> dict[str, Any]:
        lists = {"reasons": commonest(self.reasons), "cuts": commonest(self.cuts)}
        return asdict(self) | {key: [asdict(reason) for reason in reasons] for key, reasons in lists.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Ledger:
        lists = {key: {_alike(r["text"]): Reason(**r) for r in values[key]} for key in ("reasons", "cuts")}
        return cls(**values | lists)


def note(reasons: dict[str, Reason], text: str, *places: str, rows: int = 1, tokens: int = 0) -> None:
    reason = reasons.setdefault(_alike(text), Reason(text))
    reason.rows, reason.tokens = reason.rows + rows, reason.tokens + tokens
    reason.places = [*reason.places, *places][:SHOWN]


def commonest(reasons: dict[str, Reason]) -> list[Reason]:
    return sorted(reasons.values(), key=lambda reason: -reason.rows)


def _alike(text: str) -> str:
    """ "turn 3: empty answer" and "turn 5: empty answer" are one reason."""
    return re.sub(r"\d+", "#", text)


def _places(reason: Reason) -> str:
    return ", ".join(reason.places) + (", ..." if reason.rows > len(reason.places) else "")


def table(ledgers: Sequence[Ledger]) -> str:
    """The accounts as lines of text."""
    head = ("dataset", "rows", "kept", "dropped", "truncated", "sequences", "tokens", "with loss")
    body = [
        (
            x.name,
            *(f"{n:,}" for n in (x.rows, x.kept, x.dropped, x.truncated, x.sequences, x.tokens)),
            "?" if x.loss_tokens is None else f"{x.loss_tokens:,}",
        )
        for x in ledgers
    ]
    widths = [max(len(row[i]) for row in (head, *body)) for i in range(len(head))]
    lines = []
    for row, ledger in zip((head, *body), (None, *ledgers), strict=True):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells))
        reasons = ledger.commonest() if ledger else []
        lines += [f"    dropped {reason.rows}: {reason.text} ({_places(reason)})" for reason in reasons[:SHOWN]]
        if len(reasons) > SHOWN:
            others = reasons[SHOWN:]
            lines.append(f"    dropped {sum(r.rows for r in others)} for {len(others)} other reasons: see ledger.json")
        if ledger and ledger.truncated:
            cut = f"{ledger.truncated_tokens:,} tokens of {ledger.truncated:,} rows"
            lines.append(f"    cut off {cut}: raise cutoff_len to keep them")
            for part in commonest(ledger.cuts)[:SHOWN]:
                lines.append(f"        {part.tokens:,} tokens of {part.rows:,} rows: {part.text} ({_places(part)})")
    return "\n".join(lines)
