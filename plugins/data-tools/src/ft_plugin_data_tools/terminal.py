"""Token rows as lines of a terminal, or of a file."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TextIO

from .tokens import VISIBLE, TokenRow, visible

BREAK = VISIBLE["\n"]
INDENT = " " * 16


@dataclass(frozen=True, slots=True)
class Style:
    """Colours of a terminal, or none: what they say, the columns beside the text say too."""

    coloured: bool

    @classmethod
    def of(cls, stream: TextIO) -> Style:
        return cls(stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb")

    def _painted(self, text: str, *codes: int) -> str:
        return f"\x1b[{';'.join(map(str, codes))}m{text}\x1b[0m" if self.coloured and text and codes else text

    def heading(self, text: str) -> str:
        return self._painted(text, 1)

    def dim(self, text: str) -> str:
        return self._painted(text, 2)

    def token(self, text: str, *, weight: float = 0, control: bool = False, padding: bool = False) -> str:
        if padding:
            return self.dim(text)
        colour = 0 if not weight else 32 if weight == 1 else 33
        return self._painted(text, *filter(None, [colour, 1 if weight else 0, 7 if control else 0]))


def legend(style: Style) -> str:
    parts = [
        style.token("with loss", weight=1),
        style.token("with a weight of its own", weight=0.5),
        "without",
        style.token("control token", control=True),
        style.token("padding", padding=True),
    ]
    return (
        " ".join(parts) if style.coloured else "from: number of the first token; loss: weight of each, where it has any"
    )


def spans(row: TokenRow, style: Style) -> Iterator[str]:
    """A line for each stretch of tokens of one kind: where it begins, the weight of its loss, its text."""
    for name, value in row.facts.items():
        yield style.dim(f"  {name}: {visible(str(value))}")
    yield style.dim("   from  loss   text")
    kinds = zip(row.parts, row.padding, row.weights, strict=True)
    stretches = itertools.groupby(enumerate(kinds), key=lambda item: item[1])
    before = ""
    for (part, padded, weight), items in stretches:
        at = [i for i, _ in items]
        if part != before and not padded:
            before = part
            yield style.dim(f"  -- {part} --")
        start = f"{at[0]:7d}  {f'{weight:g}' if weight else '':<5}  "
        text = _painted(row, at, style) if not padded else style.token(f"{row.text[at[0]]} x {len(at)}", padding=True)
        yield start + f"\n{INDENT}".join(text.split("\n"))


def _painted(row: TokenRow, at: list[int], style: Style) -> str:
    """The text of these tokens, a line break after each that it has; escapes never span a line."""
    lines = [""]
    weight = row.weights[at[0]]
    for control, alike in itertools.groupby(at, key=lambda i: row.control[i]):
        for j, piece in enumerate(visible("".join(row.text[i] for i in alike)).split(BREAK)):
            if j:
                lines[-1] += style.token(BREAK, weight=weight, control=control)
                lines.append("")
            lines[-1] += style.token(piece, weight=weight, control=control)
    if len(lines) > 1 and not lines[-1]:
        lines.pop()
    return "\n".join(lines)


def every_token(row: TokenRow, style: Style) -> Iterator[str]:
    """A line for each token, with everything that the batch says of it."""
    names = [name for name, values in row.columns.items() if values != row.ids or name.endswith("labels")]
    table: list[list[Any]] = [["", "id", *(name.removeprefix(row.name) for name in names), "text"]]
    for i, token in enumerate(row.ids):
        values = [f"{v:g}" if isinstance(v, float) else v for v in (row.columns[name][i] for name in names)]
        table.append([i, token, *values, visible(row.text[i])])
    widths = [max(len(str(line[c])) for line in table) for c in range(len(table[0]) - 1)]
    for i, line in enumerate(table, start=-1):
        cells = "  ".join(str(cell).rjust(width) for cell, width in zip(line, widths, strict=False))
        if i < 0:
            yield style.dim(f"{cells}  {line[-1]}")
            continue
        if row.parts[i] != (row.parts[i - 1] if i else ""):
            yield style.dim(f"-- {row.parts[i]} --")
        yield f"{cells}  " + style.token(
            line[-1], weight=row.weights[i], control=row.control[i], padding=row.padding[i]
        )
