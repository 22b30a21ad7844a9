"""What can be wrong with a run, as data: collected, then reported together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "missing", "warning"]
"""``missing``: something the run needs that is not here (a dataset): ``ftk plan`` warns, ``ftk run`` stops."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from, precise enough to open in an editor."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing the user can act on: what is wrong, where, and the one thing to do."""

    level: Level
    message: str
    hint: str = ""
    key: str = ""
    """The config key it is about; the kernel fills in ``origin`` from it."""
    origin: Origin | None = None

    def __str__(self) -> str:
        where = f"{self.origin}: " if self.origin else ""
        hint = f"\n    {self.hint}" if self.hint else ""
        return f"{where}{self.level}: {self.message}{hint}"


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Each problem once, by file and line."""

    def place(p: Problem) -> tuple[str, int]:
        return (p.origin.source, p.origin.line or 0) if p.origin else ("", 0)

    return sorted(dict.fromkeys(problems), key=place)


class FtkError(Exception):
    """An error whose text is all that the user needs; shown without a traceback."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint

    def __str__(self) -> str:
        return f"{self.message}\n    {self.hint}" if self.hint else self.message


class ConfigError(FtkError):
    """The config or the plan cannot run. Carries every problem found, not the first. Exit code 2."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = in_order(problems)
        super().__init__("\n".join(map(str, self.problems)))

    @classmethod
    def single(cls, message: str, hint: str = "", *, origin: Origin | None = None) -> ConfigError:
        return cls([Problem("error", message, hint, origin=origin)])


class RunError(FtkError):
    """The run cannot go on for a reason that the user can act on. Exit code 1."""


class RowError(ValueError):
    """A formatter or encoder cannot use a row. The text says what is wrong with the row, not which row it is."""
