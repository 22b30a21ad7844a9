"""Runs a training again and again, each time killed at a later write, and lets every one of them go on to its end.

usage: interruptions.py FOLDER POINTS    (its own process: it forks, which must come before torch starts threads)

Prints a JSON object: how many writes the run makes, and for each point at which one was killed what was then on the disk
and how the resumed run differs from the uninterrupted one.
"""

import json
import logging
import os
import signal
import sys
from pathlib import Path

import torch
from conftest import Workbench
from safetensors import safe_open

from ftk_sdk.tiny import tiny_llama

WRITES = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree", "shutil.copyfile")
KEYS = {
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "num_train_epochs": 3,
    "learning_rate": 1e-2,
    "warmup_ratio": 0.2,
    "logging_steps": 3,
    "save_strategy": "steps",
    "save_steps": 4,
    "save_total_limit": 2,
    "eval_strategy": "steps",
    "eval_steps": 4,
    "load_best_model_at_end": True,
    "plot_loss": True,
    "components": ["addon:plot-loss"],
}
TIMES = ("elapsed_time", "remaining_time", "eval_runtime", "eval_samples_per_second", "eval_steps_per_second")


def train(folder: Path, kill_at: int | None = None) -> None:
    """In a process of its own. With ``kill_at``: killed as it is about to make that write to the folder."""
    logging.disable(logging.WARNING)
    made = 0

    def watch(event: str, args: tuple) -> None:
        nonlocal made
        if event not in WRITES or not isinstance(args[0], (str, os.PathLike)) or str(folder) not in os.fspath(args[0]):
            return
        if event == "open" and not (isinstance(args[1], str) and set(args[1]) & set("wa+x")):
            return
        made += 1
        if made == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    bench = Workbench(folder)
    model = tiny_llama()
    model.config.attention_dropout = 0.2
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.2
    trainer = bench.trainer(model=model, rows=bench.rows(40), eval_rows=bench.rows(6, seed=1), **KEYS)
    sys.addaudithook(watch)
    trainer.train()
    (folder / "writes").write_text(str(made))


def forked(*args) -> bool:
    """Whether ``train`` in a child process came to its end."""
    pid = os.fork()
    if pid == 0:
        try:
            train(*args)
        except BaseException as e:
            print(f"{type(e).__name__}: {e}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the training failed"
    return not os.WIFSIGNALED(status)


def result(folder: Path) -> dict:
    """All of a finished run that must not depend on interruptions."""
    out = folder / "out"
    state = json.loads((out / "trainer_state.json").read_text())
    history = [{k: v for k, v in e.items() if k not in TIMES} for e in state["log_history"] if "train_runtime" not in e]
    log = [json.loads(line) for line in (out / "trainer_log.jsonl").read_text().splitlines()]
    return {
        "weights": (out / "model.safetensors").read_bytes(),
        "history": history,
        "log": [{k: v for k, v in entry.items() if k not in TIMES} for entry in log],
        "train_loss": json.loads((out / "train_results.json").read_text())["train_loss"],
        "best": Path(state["best_model_checkpoint"]).name,
        "folders": sorted(p.name for p in out.iterdir() if p.is_dir()),
    }


def broken(folder: Path) -> list[str]:
    """What of that on the disk carries its final name but cannot be read."""
    bad = []
    out = folder / "out"
    for point in out.glob("checkpoint-*"):
        for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"):
            if not (point / name).is_file():
                bad.append(f"{point.name}/{name} is missing")
    if (out / "config.json").exists() and not (out / "model.safetensors").exists():
        bad.append("config.json without weights")
    for path in [*out.glob("*.safetensors"), *out.glob("checkpoint-*/*.safetensors")]:
        try:
            safe_open(path, "pt")
        except Exception as e:
            bad.append(f"{path}: {e}")
    for path in [*out.glob("*.json"), *out.glob("checkpoint-*/*.json")]:
        try:
            json.loads(path.read_text())
        except ValueError as e:
            bad.append(f"{path}: {e}")
    return bad


def main(folder: Path, points: int) -> None:
    torch.set_num_threads(1)
    whole = folder / "whole"
    forked(whole)
    writes = int((whole / "writes").read_text())
    expected = result(whole)
    report = {"writes": writes, "points": {}}
    for kill_at in sorted({1 + (writes - 1) * i // max(points - 1, 1) for i in range(points)}):
        interrupted = folder / str(kill_at)
        assert not forked(interrupted, kill_at)
        bad = broken(interrupted)
        assert forked(interrupted)
        got = result(interrupted)
        report["points"][kill_at] = {"broken": bad, "different": [k for k in expected if got[k] != expected[k]]}
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
