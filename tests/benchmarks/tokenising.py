"""Tokenising: rows a second and peak memory of a conversation dataset, beside LLaMA-Factory.

usage: python tests/benchmarks/tokenising.py MODEL FILE [--rows N] [--rival PYTHON] [--rounds N] [--workers N]

MODEL is a folder with a tokenizer; FILE a dataset in alpaca's form. It is repeated to N rows (100,000 unless told), once
as it is and once with rows made distinct: sentences of other rows in another order, and numbers, drawn by seed.
PYTHON is the interpreter of an environment with LLaMA-Factory. Each measurement is a process of its own, in turns. The
time is that of loading and encoding the data, without imports; memory is the sum of the proportional set sizes of
the process and its children, sampled: at its peak, and just before the data is loaded. ``again``: the second run of an
unchanged config, from the cache. LLaMA-Factory always encodes anew (``overwrite_cache: true``).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

OURS = """
import json, os, sys, time
from ftk_sdk.testing import make_run
keys = json.loads(sys.argv[1])
run = make_run(keys)
tokenizer = run.load_tokenizer()
encoder = run.encoder(tokenizer, run.load_template(tokenizer))
print("BEGIN", flush=True); time.sleep(0.3); start, cpu = time.perf_counter(), sum(os.times()[:4])
data = run.load_dataset("train", encoder)
print(f"END {time.perf_counter() - start} {len(data)} {sum(os.times()[:4]) - cpu}", flush=True)
"""
THEIRS = """
import json, os, sys, time
from llamafactory.hparams import get_train_args
from llamafactory.model import load_tokenizer
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
model, data, training, finetuning, _ = get_train_args(json.loads(sys.argv[1]))
module = load_tokenizer(model)
template = get_template_and_fix_tokenizer(module["tokenizer"], data)
out, sys.stdout = sys.stdout, open(os.devnull, "w")
print("BEGIN", file=out, flush=True); time.sleep(0.3); start, cpu = time.perf_counter(), sum(os.times()[:4])
rows = get_dataset(template, model, data, training, stage="sft", **module)["train_dataset"]
print(f"END {time.perf_counter() - start} {len(rows)} {sum(os.times()[:4]) - cpu}", file=out, flush=True)
"""
LINE = "{:34} {:>8} {:>8} {:>8} {:>8} {:>11} {:>9} {:>12}"


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("model")
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rival")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--template", default="smollm")
    wanted = parser.parse_args()
    rows = json.loads(wanted.file.read_text(encoding="utf-8"))
    print(LINE.format("data, encoded by", "rows", "seconds", "rows/s", "CPU s", "rows/CPU s", "peak MB", "at start MB"))
    with tempfile.TemporaryDirectory() as folder:
        for kind, data in (("repeated", repeated(rows, wanted.rows)), ("distinct", distinct(rows, wanted.rows))):
            path = Path(folder) / f"{kind}.json"
            path.write_text(json.dumps(data, ensure_ascii=False, indent=1), encoding="utf-8")
            info = {name: {"file_name": f"{name}.json"} for name in ("repeated", "distinct")}
            (Path(folder) / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")
            measure(kind, Path(folder), wanted)


def repeated(rows: list[dict], count: int) -> list[dict]:
    return [rows[i % len(rows)] for i in range(count)]


def distinct(rows: list[dict], count: int) -> list[dict]:
    """Rows that share words, as text does, and no sentence order and no number."""
    draw = random.Random(0)
    sentences = [s for row in rows for s in re.split(r"(?<=[.!?\n]) +", row["output"]) if s]
    out = []
    for i in range(count):
        row = rows[i % len(rows)]
        parts = re.split(r"(?<=[.!?\n]) +", row["output"])
        parts = [draw.choice(sentences) for _ in parts] + [f"{draw.random():.6f}, {draw.randrange(10**6):x}."]
        out.append(row | {"instruction": f"{row['instruction']} ({i})", "output": " ".join(parts)})
    return out


def measure(kind: str, folder: Path, wanted: argparse.Namespace) -> None:
    common = {
        "model_name_or_path": wanted.model,
        "stage": "sft",
        "finetuning_type": "lora",
        "dataset": kind,
        "dataset_dir": str(folder),
        "template": wanted.template,
        "cutoff_len": 1024,
        "output_dir": str(folder / "out"),
    }
    ours = common if wanted.workers is None else {**common, "preprocessing_num_workers": wanted.workers}
    results: dict[str, list[tuple[float, ...]]] = {}
    for _ in range(wanted.rounds):
        fresh = {**ours, "overwrite_cache": True}
        results.setdefault(f"{kind}, ftk", []).append(run(sys.executable, OURS, fresh, folder))
        results.setdefault(f"{kind}, ftk again", []).append(run(sys.executable, OURS, ours, folder))
        for workers in (1, 2) if wanted.rival else ():
            keys = {**common, "do_train": True, "overwrite_cache": True, "preprocessing_num_workers": workers}
            name = f"{kind}, LLaMA-Factory, {workers} workers"
            results.setdefault(name, []).append(run(wanted.rival, THEIRS, keys, folder))
    for name, found in results.items():
        seconds, count, cpu, peak, before = (statistics.median(column) for column in zip(*found, strict=True))
        figures = (f"{count:.0f}", f"{seconds:.1f}", f"{count / seconds:.0f}", f"{cpu:.1f}", f"{count / cpu:.0f}")
        print(LINE.format(name, *figures, f"{peak:.0f}", f"{before:.0f}"), flush=True)


def run(python: str, program: str, keys: dict, folder: Path) -> tuple[float, ...]:
    """Seconds, rows, CPU seconds, and megabytes at the peak and before."""
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "FTK_CACHE": str(folder / "cache"),
        "HF_HOME": str(folder / "hf"),
    }
    process = subprocess.Popen(
        [python, "-c", program, json.dumps(keys)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.append(process.stderr.read()), daemon=True)  # type: ignore[union-attr]
    reader.start()
    sampled = [0.0]
    sampler = threading.Thread(target=sample, args=(process.pid, sampled), daemon=True)
    sampler.start()
    before, figures = 0.0, []
    for line in process.stdout or ():
        if line.startswith("BEGIN"):
            time.sleep(0.2)
            before = memory(process.pid)
        elif line.startswith("END"):
            figures = [float(word) for word in line.split()[1:]]
    if process.wait() or not figures:
        reader.join()
        sys.exit(f"{python} failed:\n{errors[-1][-3000:]}")
    return (*figures, sampled[0], before)


def sample(pid: int, peak: list[float]) -> None:
    while Path(f"/proc/{pid}").exists():
        peak[0] = max(peak[0], memory(pid))
        time.sleep(0.1)


def memory(pid: int) -> float:
    """Proportional set size of the process and its descendants, in megabytes: shared pages count once."""
    total, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        try:
            text = Path(f"/proc/{one}/smaps_rollup").read_text()
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
        except (OSError, ValueError):
            continue
        # Pages of mapped files belong to the system, which takes them back when it needs them.
        total += sum(int(number) for number in re.findall(r"^Pss_(?:Anon|Shmem):\s+(\d+)", text, re.MULTILINE))
    return total / 1024


if __name__ == "__main__":
    main()
