"""The name of a model in a package: ``pypi:NAME``, ``pypi:NAME==VERSION``, either followed by ``#sha256=HEX``."""

from __future__ import annotations

import re
from dataclasses import dataclass

PREFIX = "pypi:"
FORMS = "pypi:NAME, pypi:NAME==VERSION or pypi:NAME==VERSION#sha256=HEX"

_SPEC = re.compile(
    r"pypi:(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
    r"(?:==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*))?"
    r"(?:#sha256=(?P<sha256>[0-9a-fA-F]{64}))?"
)


@dataclass(frozen=True, slots=True)
class PypiSpec:
    name: str
    """Normalised, as indexes compare names."""
    version: str | None = None
    sha256: str | None = None
    """Of the wheel, in lower case."""

    @classmethod
    def parse(cls, text: str) -> PypiSpec:
        """Raises ValueError when the text has another form."""
        found = _SPEC.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is not of the form {FORMS}")
        name, version, sha256 = found.group("name", "version", "sha256")
        return cls(re.sub(r"[-_.]+", "-", name).lower(), version, sha256.lower() if sha256 else None)

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version}" if self.version else self.name
