"""The add-on: packs what trains, tells the model where documents end, and has it proved. Read this first."""

from __future__ import annotations

import copy
from typing import Any

from transformers import TrainerCallback

from ft_plugin_data.config import DataConfig
from ft_plugin_trainer.encoding import NextTokenCollator
from ftk.contracts import Encoder
from ftk.markers import hookimpl
from ftk.problems import RunError

from .collate import PackedCollator
from .config import PackingConfig
from .isolation import Isolation
from .probe import Probe
from .sequences import Concatenated, Packed, packed


class Packing:
    def __init__(self) -> None:
        self._isolation: Isolation | None = None

    @hookimpl(wrapper=True)
    def ftk_encoder(self, run) -> Any:
        encoder = yield
        return with_packed_batches(encoder)

    @hookimpl(wrapper=True)
    def ftk_load_dataset(self, run, split) -> Any:
        rows = yield
        # Evaluation gives the same loss without; its rows stay what callers of other plugins expect.
        if split != "train" or rows is None:
            return rows
        data = run.config[DataConfig]
        rows = packed(rows, data.cutoff_len, isolated=_isolates(run), window=data.buffer_size, seed=run.seed)
        if isinstance(rows, (Packed, Concatenated)):
            run.logger.info("packing: %s", rows)
        return rows

    @hookimpl(wrapper=True)
    def ftk_adapt_model(self, run) -> Any:
        model = yield
        if run.plan.action == "train" and _isolates(run):
            self._isolation = Isolation(model)
            if names := self._isolation.stateful:
                run.logger.info("packing: %d layers carry a state, and run document by document", len(names))
        return model

    @hookimpl(wrapper=True)
    def ftk_load_model(self, run, role) -> Any:
        """A reference gets the same batches as the policy, which is isolated when it has been adapted."""
        model = yield
        if role != "policy" and _isolates(run):
            Isolation(model, like=self._isolation)
        return model

    @hookimpl
    def ftk_callbacks(self, run) -> list[TrainerCallback]:
        return [Probe(self._isolation, run.logger)] if self._isolation else []


def with_packed_batches(encoder: Encoder) -> Encoder:
    """The same encoder, whose collator takes packed rows too. Raises RunError for one whose rows cannot be packed."""
    if not isinstance(encoder.collate, NextTokenCollator):
        message = f"packing joins rows that predict the next token; those of {type(encoder).__name__} are others"
        raise RunError(message, "set packing: false")
    out = copy.copy(encoder)
    out.collate = PackedCollator(encoder.collate)
    return out


def _isolates(run) -> bool:
    return run.config[PackingConfig].packing_mode == "isolated"
