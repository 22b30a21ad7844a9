"""CPU time and peak memory of training stages, beside LLaMA-Factory and TRL on the same file, interleaved.

usage: python tests/benchmarks/stages.py MODEL DATASET_DIR [--rival llamafactory-cli] [--trl] [--markdown FILE]
           [--stages sft,dpo,kto,rm] [--steps 4] [--rounds 1] [KEY=VALUE ...]

MODEL is a folder, DATASET_DIR has alpaca_en_demo, dpo_en_demo and kto_en_demo in its dataset_info.json. All sides
train LoRA of all layers in global batches of 4 pairs or 8 rows, from one YAML file. A step's time is that of 1 + STEPS steps less
that of one step, so that start-up and preparation do not count; CPU seconds, as they bear company better than
the clock. KEY=VALUE replaces keys for ftk and LLaMA-Factory alike, such as bf16=true.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ftk.load import parse_overrides

ROWS = {"sft": (2, 4), "dpo": (1, 4), "kto": (2, 4), "rm": (1, 4)}
"""Stage -> rows or pairs of a micro-batch, micro-batches of a step."""
DATA = {"sft": "alpaca_en_demo", "dpo": "dpo_en_demo", "kto": "kto_en_demo", "rm": "dpo_en_demo"}
HEAD = ("stage", "by", "CPU s a step", "peak MB", "losses")


def main() -> None:
    words = argparse.ArgumentParser(usage=__doc__)
    words.add_argument("model")
    words.add_argument("data")
    words.add_argument("--rival")
    words.add_argument("--trl", action="store_true")
    words.add_argument("--stages", default="sft,dpo,kto,rm")
    words.add_argument("--steps", type=int, default=4)
    words.add_argument("--rounds", type=int, default=1)
    words.add_argument("--markdown", type=Path)
    words.add_argument("overrides", nargs="*")
    asked = words.parse_intermixed_args()
    sides = ["ftk", *(["LLaMA-Factory"] if asked.rival else []), *(["TRL"] if asked.trl else [])]
    lines = [f"| {' | '.join(HEAD)} |", f"| {' | '.join(['---'] * len(HEAD))} |"]
    for stage in asked.stages.split(","):
        found = {side: [] for side in sides}
        for _ in range(asked.rounds):
            for side in sides:
                found[side].append(measured(side, stage, asked))
        ours = typical(found["ftk"])
        for side in sides:
            seconds, peak, losses = typical(found[side])
            ratios = "" if side == "ftk" else f" (ftk {ours[0] / seconds:.2f}, memory {ours[1] / peak:.2f})"
            lines.append(f"| {stage} | {side}{ratios} | {seconds:.1f} | {peak:,.0f} | {shown(losses)} |")
            print(lines[-1], flush=True)
    if asked.markdown:
        asked.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


def measured(side: str, stage: str, asked: argparse.Namespace) -> tuple[float, float, list[float]]:
    """CPU seconds of a step, peak resident megabytes, losses of the steps."""
    with tempfile.TemporaryDirectory() as folder:
        one, _, _ = run(side, stage, asked, 1, Path(folder) / "one")
        more, peak, losses = run(side, stage, asked, 1 + asked.steps, Path(folder) / "more")
    seconds = (more - one) / asked.steps
    print(f"{stage} {side}: {seconds:.1f} CPU s a step, {peak:,.0f} MB, {shown(losses)}", file=sys.stderr, flush=True)
    return seconds, peak, losses


def run(side: str, stage: str, asked: argparse.Namespace, steps: int, out: Path) -> tuple[float, float, list[float]]:
    out.parent.mkdir(exist_ok=True)
    config = out.with_suffix(".yaml")
    config.write_text(json.dumps(keys(stage, asked, steps, out)), encoding="utf-8")
    program = {
        "ftk": [sys.executable, "-m", "ftk.cli.main", "run", config],
        "LLaMA-Factory": [asked.rival, "train", config],
        "TRL": [sys.executable, Path(__file__).with_name("trl_side.py"), config],
    }[side]
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    with out.with_suffix(".log").open("w") as log:
        process = subprocess.Popen(list(map(str, program)), stdout=log, stderr=log, env=environment)
        _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{side} failed at {stage}:\n{out.with_suffix('.log').read_text()[-2000:]}")
    history = json.loads((out / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, [e["loss"] for e in history if "loss" in e]


def keys(stage: str, asked: argparse.Namespace, steps: int, out: Path) -> dict[str, object]:
    rows, batches = ROWS[stage]
    return {
        "model_name_or_path": asked.model,
        "stage": stage,
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": 8,
        "lora_target": "all",
        "dataset": DATA[stage],
        "dataset_dir": asked.data,
        "template": "smollm",
        "cutoff_len": 512,
        "output_dir": str(out),
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": batches,
        "learning_rate": 1e-5,
        "lr_scheduler_type": "constant",
        "max_steps": steps,
        "seed": 42,
        "use_cpu": True,
        "disable_gradient_checkpointing": True,
        **{key: item.value for key, item in parse_overrides(asked.overrides).items()},
    }


def typical(found: Sequence[tuple[float, float, list[float]]]) -> tuple[float, float, list[float]]:
    seconds, peaks, losses = zip(*found, strict=True)
    return statistics.median(seconds), statistics.median(peaks), losses[0]


def shown(losses: Sequence[float]) -> str:
    return " ".join(f"{loss:.4f}" for loss in losses)


if __name__ == "__main__":
    main()
