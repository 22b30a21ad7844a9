"""What a contract is about: a component, the keys that it needs, and the plugins that it is found among."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ftk.discover import Installed
from ftk.kinds import Action
from ftk.run import Run

from ..testing import make_run


class Subject:
    """The attributes that all contracts of components share."""

    component: ClassVar[str]
    """Id of the component: ``"optimizer:galore"``."""
    keys: ClassVar[Mapping[str, Any]] = {}
    """Config keys that the component needs, with values that suit a tiny model."""
    beside: ClassVar[Sequence[str]] = ()
    """Ids of components that it needs beside it, such as ``"adapter:lora"`` for an add-on of LoRA."""
    plugins: ClassVar[Installed | None] = None
    """Where it is found; ``None``: among everything installed."""

    def run(self, more: Mapping[str, Any] | None = None, *, action: Action = "train") -> Run:
        """A real run, with ``more`` keys, that holds the component and what it needs and nothing else."""
        held = [self.component, *self.beside]
        return make_run({**self.keys, **(more or {})}, components=held, action=action, plugins=self.plugins)
