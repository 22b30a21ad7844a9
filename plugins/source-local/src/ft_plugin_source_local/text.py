"""Rows of text files, one by one, each with its line. Standard library only.

pandas' and pyarrow's readers guess types (the answer "42" becomes a number), give up on columns of mixed types, and do
not say where a file is broken. These do not guess, keep every value as it is written, and name file and line.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from ftk.problems import RunError

Rows = Iterator[tuple[str, dict[str, Any]]]
"""(where the row stands: ``file:line``, the row)"""

_SPACE = re.compile(r"[ \t\r\n]*")
_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}


def read_json(path: Path) -> Rows:
    """Rows of a JSON list, of ``{"data": [...]}``, or of one object a line, whichever the file holds."""
    lines = ((number, line) for number, line in decoded_lines(path) if line.strip())
    number, first = next(lines, (0, ""))
    if not first:
        return iter(())
    if first.lstrip()[0] == "[":
        return _list_rows(path, _whole(path))
    try:
        row = json.loads(first)
    except (ValueError, RecursionError):
        return _object_rows(path, _whole(path))
    second = next(lines, None)
    if second is None and isinstance(row, dict) and isinstance(row.get("data"), list):
        return _object_rows(path, first)
    return _line_rows(path, (number, row), chain([second] if second else [], lines))


def _line_rows(path: Path, first: tuple[int, Any], lines: Iterator[tuple[int, str]]) -> Rows:
    number, row = first
    yield f"{path.name}:{number}", _object(path, number, row)
    for number, line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as e:
            raise _broken(path, e, number, line) from None
        yield f"{path.name}:{number}", _object(path, number, row)


def _list_rows(path: Path, text: str) -> Rows:
    """Element by element, so that each has its line."""
    decode = json.JSONDecoder().raw_decode
    position, line, counted = _skip(text, text.index("[") + 1), 1, 0
    if text[position : position + 1] == "]":
        return
    while True:
        line, counted = line + text.count("\n", counted, position), position
        try:
            row, position = decode(text, position)
        except (ValueError, RecursionError) as e:
            raise _broken(path, e, line, text) from None
        yield f"{path.name}:{line}", _object(path, line, row)
        position = _skip(text, position)
        mark = text[position : position + 1]
        if mark == ",":
            position = _skip(text, position + 1)
        elif mark == "]" and _skip(text, position + 1) == len(text):
            return
        else:
            wanted = "more text after the end of the list" if mark == "]" else "',' or ']' expected"
            position += mark == "]"
            raise _broken(path, json.JSONDecodeError(wanted, text, _skip(text, position)), line, text)


def _object_rows(path: Path, text: str) -> Rows:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise _broken(path, e, 1, text) from None
    rows = value.get("data") if isinstance(value, dict) else None
    if not isinstance(rows, list):
        hint = 'write a list of rows, {"data": [...]}, or one object a line'
        raise RunError(f"{path}: holds one {_kind(value).split()[-1]}, not rows", hint)
    return ((f"{path.name} row {n}", _object(path, 1, row, f"row {n} ")) for n, row in enumerate(rows, 1))


def read_csv(path: Path) -> Rows:
    """Rows of a comma-separated file with a header. Every cell is text, as it stands there."""
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(line for _, line in decoded_lines(path))
    header: list[str] = []
    try:
        for cells in reader:
            if not cells:
                continue
            if not header:
                header = _header(path, cells)
            elif len(cells) != len(header):
                message = f"{path}:{reader.line_num}: {len(cells)} cells, but the header has {len(header)}"
                raise RunError(message, "quote cells that hold commas or line breaks")
            else:
                yield (
                    f"{path.name}:{reader.line_num}",
                    dict(zip(header, cells, strict=True)),
                )
    except csv.Error as e:
        raise RunError(f"{path}:{reader.line_num}: broken CSV: {e}") from None


def _header(path: Path, cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    for name in names:
        if not name or names.count(name) > 1:
            raise RunError(f"{path}:1: the header names {name!r} {'twice' if name else 'for a column'}")
    return names


def read_txt(path: Path) -> Rows:
    """A row for each line that is not blank: ``{"text": line}``."""
    for number, line in decoded_lines(path):
        if line.strip():
            yield f"{path.name}:{number}", {"text": line.rstrip("\r\n")}


def decoded_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, line) of a UTF-8 file, with or without byte order mark."""
    offset = 0
    try:
        file = open(path, "rb")  # noqa: SIM115  # closed below; only opening it may fail in this way
    except OSError as e:
        raise RunError(f"{path}: cannot be read: {e.strerror}") from None
    with file as f:
        for number, raw in enumerate(f, 1):
            if number == 1:
                if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise RunError(f"{path}: the file is UTF-16, not UTF-8", "save it as UTF-8")
                offset = len(raw)
                raw = raw.removeprefix(codecs.BOM_UTF8)
                offset -= len(raw)
            try:
                line = raw.decode()
            except UnicodeDecodeError as e:
                place = f"byte 0x{raw[e.start]:02x} at offset {offset + e.start}"
                raise RunError(f"{path}:{number}: {place} is not UTF-8", "convert the file to UTF-8") from None
            yield number, line
            offset += len(raw)


def _whole(path: Path) -> str:
    return "".join(line for _, line in decoded_lines(path))


def _skip(text: str, position: int) -> int:
    return _SPACE.match(text, position).end()  # type: ignore[union-attr]  # matches the empty string


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "null")


def _object(path: Path, line: int, row: Any, which: str = "the row ") -> dict[str, Any]:
    if not isinstance(row, dict):
        raise RunError(f"{path}:{line}: {which}is {_kind(row)}, not an object", 'a row is {"column": value, ...}')
    return row


def _broken(path: Path, error: Exception, line: int, text: str) -> RunError:
    """The decoder's complaint with its place. ``line`` is where ``text`` begins, for errors that know no place."""
    if isinstance(error, RecursionError):
        return RunError(f"{path}:{line}: nested too deeply")
    if not isinstance(error, json.JSONDecodeError):
        return RunError(f"{path}:{line}: a number has too many digits")  # Python stops at 4300
    if "\n" in text.rstrip("\n"):
        line = error.lineno
    if not text[error.pos :].strip() or error.msg.startswith("Unterminated"):
        return RunError(f"{path}:{line}: the JSON ends in the middle of a value: is the file truncated?")
    near = text[max(0, error.pos - 20) : error.pos + 20].replace("\n", " ")
    return RunError(f"{path}:{line}: broken JSON at column {error.colno}: {error.msg.lower()}, near {near!r}")
