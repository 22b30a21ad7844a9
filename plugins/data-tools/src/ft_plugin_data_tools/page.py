"""Token rows as a web page in one file: no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from .tokens import INCOMPLETE, TokenRow, visible

STYLE = """
:root { color-scheme: light dark; --loss: #b7e4b0; --other: #f3d98b; --control: #9db8ff; --line: #888; }
@media (prefers-color-scheme: dark) { :root { --loss: #1f5c2e; --other: #6b5312; --control: #2c4a99; } }
body { font: 15px/1.7 ui-monospace, monospace; margin: 2em auto; max-width: 70em; padding: 0 1em; }
h1, h2 { font: 600 1.1em system-ui, sans-serif; }
h2 { border-top: 1px solid var(--line); margin-top: 2em; padding-top: 1em; }
.row { overflow-wrap: anywhere; white-space: pre-wrap; }
.t:hover { outline: 1px solid var(--line); }
.l { background: var(--loss); } .w { background: var(--other); }
.c { border: 1px solid var(--control); border-radius: 3px; color: var(--control); }
.p { opacity: .35; }
.d { border-top: 1px dashed var(--line); color: var(--line); display: block; margin-top: .5em; }
""".strip()
TITLE = "What the model sees"


def page(rows: Sequence[tuple[str, TokenRow]]) -> str:
    """The page of rows with their titles. Hovering over a token shows what the batch says of it."""
    body = "\n".join(f"<h2>{escape(title)}</h2>\n<div class=row>{''.join(_tokens(row))}</div>" for title, row in rows)
    legend = (
        "<p><span class='t l'>with loss</span> <span class='t w'>with a weight of its own</span> without "
        "<span class='t c'>control token</span> <span class='t p'>padding</span></p>"
    )
    return (
        f"<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<title>{TITLE}</title>\n<style>\n{STYLE}\n</style>\n"
        f"<h1>{TITLE}</h1>\n{legend}\n{body}\n</html>\n"
    )


def _tokens(row: TokenRow) -> Iterator[str]:
    if row.facts:
        yield f"<span class=d>{escape('; '.join(f'{name}: {value}' for name, value in row.facts.items()))}</span>"
    for i, text in enumerate(row.text):
        if row.parts[i] != (row.parts[i - 1] if i else ""):
            yield f"<span class=d>{escape(row.parts[i])}</span>"
        said = [f"{name.removeprefix(row.name)}: {values[i]}" for name, values in row.columns.items()]
        hover = "\n".join([f"token {i}", *said, f"loss weight: {row.weights[i]:g}", *filter(None, [row.parts[i]])])
        shown = escape(visible(text or INCOMPLETE)) + "\n" * text.count("\n")
        yield f'<span class="{_classes(row, i)}" title="{escape(hover)}">{shown}</span>'


def _classes(row: TokenRow, i: int) -> str:
    weight = row.weights[i]
    marks = {"l": weight == 1, "w": weight not in (0, 1), "c": row.control[i], "p": row.padding[i]}
    return " ".join(["t", *(name for name, holds in marks.items() if holds)])
