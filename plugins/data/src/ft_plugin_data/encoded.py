"""One dataset, encoded: in memory where it is small, else in files of the cache, where the next run finds it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ftk.contracts import Encoder

from . import cache
from .config import DataConfig
from .encode import MANY, Batches, RowEncoder, encode_all, worker_count
from .mixing import chosen_rows
from .opening import Opened
from .spill import Spill, joined


def encoded(
    run: Any, item: Opened, encoder: Encoder, identity: Mapping[str, Any], random: np.random.RandomState, title: str
) -> cache.Encoded:
    """The table of training sequences, ``None`` where there are none, and the account of the rows."""
    cfg = run.config[DataConfig]
    chosen: Sequence[int] | None = None
    if item.spec.num_samples is not None:  # every draw counts, also for the datasets that follow
        chosen = chosen_rows(len(item.rows), item.spec.num_samples, cfg.max_samples, random)
    fitting = getattr(encoder, "fitting", None)
    parts = [item.formatter, encoder, getattr(encoder, "template", getattr(fitting, "template", None))]
    key = cache.key_of({**identity, "chosen": chosen and np.asarray(chosen).tolist()}, *filter(None, parts))
    anew = cfg.overwrite_cache and os.environ.get("LOCAL_RANK", "0") == "0"
    if not anew and (kept := cache.load(key, item.spec.name)):
        run.logger.info("%s: %d encoded rows taken from the cache", title, kept[1].rows)
        return kept
    if chosen is None:
        chosen = chosen_rows(len(item.rows), None, cfg.max_samples, random)
    encode = RowEncoder(item.spec.name, item.formatter, encoder)
    batches = Batches(item.rows, chosen, cfg.preprocessing_batch_size)
    workers = worker_count(cfg.preprocessing_num_workers, len(chosen))
    if len(chosen) < MANY:
        tables: list[pa.Table] = []
        ledger = encode_all(encode, batches, workers, title, tables.append)
        return joined(tables, item.spec.name), ledger
    with cache.making(key) as folder:
        if not anew and (kept := cache.load(key, item.spec.name)):  # another process of this run has made it
            return kept
        spill = Spill(folder)
        try:
            ledger = encode_all(encode, batches, workers, title, spill.write)
        finally:
            spill.close()
        return cache.keep(folder, key, ledger)
