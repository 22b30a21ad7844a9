"""The data of a run: opened, encoded, accounted for, mixed and split. Read this first."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from datasets.table import InMemoryTable

from ftk import lock
from ftk.contracts import Encoder
from ftk.markers import hookimpl
from ftk.problems import RunError
from ftk.settings import RunConfig

from . import tokenized
from .config import DataConfig
from .encoded import encoded
from .ledger import Ledger, table
from .mixing import mix, split_off
from .opening import Opened, open_all
from .steps import Apart, Shuffled
from .streaming import Stream, held_back, mixed, sources_of


class MapDatasets:
    """Encodes every row before training, in the order of the files; the trainer's sampler shuffles."""

    def __init__(self) -> None:
        self._train: Any = None
        self._held_back: Any = None
        self._account: dict[str, list[Ledger]] = {}
        self._sources: dict[str, Any] = {}

    @hookimpl
    def ftk_load_dataset(self, run, split, encoder) -> Any:
        cfg = run.config[DataConfig]
        if split == "train":
            if run.config[RunConfig].trains or cfg.val_size:
                self._load_train(run, cfg, encoder)
            return self._train
        if not cfg.eval_dataset:
            return self._held_back
        if not cfg.eval_on_each_dataset:
            return self._prepare(run, cfg, encoder, "eval", cfg.eval_dataset)
        return {name: self._prepare(run, cfg, encoder, f"eval-{name}", [name]) for name in cfg.eval_dataset}

    def _load_train(self, run, cfg: DataConfig, encoder: Encoder) -> None:
        if not cfg.dataset:
            raise RunError("dataset is not set", "name a file, a folder, hf:org/name, or a name of dataset_info.json")
        if cfg.streaming:
            self._train, self._held_back = self._stream_train(run, cfg, encoder)
            return
        data = self._prepare(run, cfg, encoder, "train", cfg.dataset)
        if cfg.val_size:
            self._train, self._held_back = split_off(data, cfg.val_size, run.seed)
            run.logger.info("val_size: %d of %d sequences held back", len(self._held_back), len(data))
        else:
            self._train = data

    def _stream_train(self, run, cfg: DataConfig, encoder: Encoder) -> tuple[Stream, Stream | None]:
        assert cfg.dataset is not None
        opened = self._opened(run, cfg, "train", cfg.dataset)
        held = held_back(cfg, run.seed)
        validation = None
        if held:
            step = Apart(mixed(sources_of(opened, encoder, cfg, run.seed), cfg, run.seed), held, only=True)
            validation = Stream(step, (), lambda ledgers: None)
        sources = sources_of(opened, encoder, cfg, run.seed)
        rows = mixed(sources, cfg, run.seed)
        step = Shuffled(Apart(rows, held, only=False) if held else rows, cfg.buffer_size, run.seed)
        return Stream(step, sources, lambda ledgers: self._tell(run, cfg, "train", ledgers)), validation

    def _opened(self, run, cfg: DataConfig, part: str, names: Sequence[str]) -> list[Opened]:
        opened = open_all(run, names, cfg.dataset_dir, streaming=cfg.streaming)
        self._sources[part] = {x.spec.name: x.record() for x in opened}
        if writes(shared=True):
            lock.record(run.output_dir, "data", self._sources)
        return opened

    def _prepare(self, run, cfg: DataConfig, encoder: Encoder, part: str, names: Sequence[str]) -> Any:
        """The named datasets as one, from ``tokenized_path`` when it holds them."""
        opened = self._opened(run, cfg, part, names)
        if cfg.streaming:
            sources = sources_of(opened, encoder, cfg, run.seed)
            return Stream(mixed(sources, DataConfig(), run.seed), sources, lambda ledgers: None)
        if cfg.tokenized_path is None:
            return self._encode(run, cfg, encoder, part, opened)
        folder = Path(cfg.tokenized_path).expanduser() / re.sub(r"[^\w.-]+", "_", part)
        identity = _identity(cfg, encoder, opened, run.seed)
        if not cfg.overwrite_cache and (kept := tokenized.load(folder, identity)):
            run.logger.info("%s: encoded data taken from %s", part, folder)
            self._tell(run, cfg, part, kept[1])
            return kept[0]
        data = self._encode(run, cfg, encoder, part, opened)
        if not writes(shared=cfg.data_shared_file_system):
            return data
        return tokenized.save(folder, data, identity, self._account[part])

    def _encode(self, run, cfg: DataConfig, encoder: Encoder, part: str, opened: Sequence[Opened]) -> Dataset:
        random = np.random.RandomState(run.seed)
        parts, ledgers = [], []
        for item in opened:
            identity = _identity(cfg, encoder, [item], run.seed)
            data, ledger = encoded(run, item, encoder, identity, random, f"{part}: {item.spec.name}")
            ledgers.append(ledger)
            if data is not None:
                # A fingerprint of our own: datasets would pickle and hash the whole table to make one.
                name = lock.fingerprint([identity, item.spec.name])
                parts.append(Dataset(InMemoryTable(data), fingerprint=name))
        self._tell(run, cfg, part, ledgers)
        return mix(parts, cfg if part == "train" else DataConfig(), run.seed)

    def _tell(self, run, cfg: DataConfig, part: str, ledgers: list[Ledger]) -> None:
        """Show the account, keep it in ``ledger.json``, and stop the run when it is bad."""
        self._account[part] = ledgers
        run.logger.info("%s data\n%s", part, table(ledgers))
        if writes(shared=True):
            account = {name: [ledger.as_dict() for ledger in each] for name, each in self._account.items()}
            lock.write_json(run.output_dir / "ledger.json", account)
        for ledger in ledgers if not cfg.streaming else ():
            ledger.check(cfg.max_drop)


def writes(*, shared: bool) -> bool:
    """Whether this process writes for the others: of all, or of those on this machine."""
    return os.environ.get("RANK" if shared else "LOCAL_RANK", "0") == "0"


def _identity(cfg: DataConfig, encoder: Encoder, opened: Sequence[Opened], seed: int) -> dict[str, Any]:
    """Everything that the encoded data depends on."""
    made: dict[str, Any] = {
        "encoder (tokenizer, template, cutoff_len, masks)": encoder.fingerprint,
        "datasets": {f"{number} {item.spec.name}": item.identity() for number, item in enumerate(opened, 1)},
        "max_samples": cfg.max_samples,
        "mix_strategy": cfg.mix_strategy if len(opened) > 1 else "concat",
        "interleave_probs": cfg.interleave_probs,
    }
    if made["mix_strategy"] != "concat" or any(item.spec.num_samples for item in opened):
        made["seed"] = seed
    return made
