"""Time and peak memory of training stages, beside LLaMA-Factory and TRL on the same file, interleaved.

usage: python tests/benchmarks/stages.py MODEL DATASET_DIR [--rival llamafactory-cli] [--trl] [--with compiled,known,both]
           [--stages sft,dpo,kto,rm,orpo,simpo,cpo,grpo] [--steps 4] [--warm 1] [--rounds 1] [--markdown FILE]
           [KEY=VALUE ...]

MODEL is a folder, DATASET_DIR has alpaca_en_demo, dpo_en_demo and kto_en_demo in its dataset_info.json; grpo learns the
sums of examples/data. All sides train LoRA of all layers in global batches of 4 pairs, 8 rows or 2 prompts with 8
completions each, from one YAML file. A step's time is that of WARM + STEPS steps less that of WARM steps, so that
start-up and preparation do not count. CPU seconds bear company better than the clock; the share of the peak is of this
machine's largest product of matrices, by the clock, so nothing else should run.

--with adds ftk with torch_compile: true (WARM should be 3 then), with the reference's log-probabilities computed before
training, which only dpo and kto have, or with both. KEY=VALUE replaces keys for ftk and LLaMA-Factory alike, such as
bf16=true; TRL heeds bf16, cutoff_len and max_samples.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ftk.load import parse_overrides


@dataclass(frozen=True)
class Job:
    data: str
    rows: int
    """Rows or pairs of a micro-batch."""
    batches: int = 4
    """Micro-batches of a step."""
    keys: dict[str, object] = field(default_factory=dict)
    rival: bool = True
    """Whether LLaMA-Factory has the stage."""
    flop: int = 0
    """Products of a parameter and a token that LoRA needs: 2 forward, 2 backward, 2 for a reference; 0: not counted."""


ROOT = Path(__file__).parents[2]
SUMS = {
    "dataset_dir": str(ROOT / "examples" / "data"),
    "cutoff_len": 64,
    "reward_funcs": "exact_answer",
    "max_new_tokens": 16,
    "grpo_num_generate_samples": 8,
}
JOBS = {
    "sft": Job("alpaca_en_demo", 2, flop=4),
    "dpo": Job("dpo_en_demo", 1, flop=6),
    "kto": Job("kto_en_demo", 2),
    "rm": Job("dpo_en_demo", 1, flop=4),
    "orpo": Job("dpo_en_demo", 1, keys={"stage": "dpo", "pref_loss": "orpo"}, flop=4),
    "simpo": Job("dpo_en_demo", 1, keys={"stage": "dpo", "pref_loss": "simpo"}, flop=4),
    "cpo": Job("dpo_en_demo", 1, rival=False, flop=4),
    "grpo": Job("sums", 1, 2, keys=SUMS, rival=False),
}
COMPILED, KNOWN = {"torch_compile": True}, {"precompute_ref_log_probs": True}
VARIANTS = {"compiled": COMPILED, "known": KNOWN, "both": COMPILED | KNOWN}
HEAD = ("stage", "by", "s a step", "CPU s", "peak MB", "tokens/s", "of the peak", "losses")
"""In brackets: ftk's share of what another one takes."""


@dataclass(frozen=True)
class Found:
    cpu: float
    clock: float
    peak: float
    """Resident megabytes."""
    losses: list[float]
    tokens: float = 0.0
    """Of a step, without padding, as ftk counts them."""


def main() -> None:
    words = argparse.ArgumentParser(usage=__doc__)
    words.add_argument("model")
    words.add_argument("data")
    words.add_argument("--rival")
    words.add_argument("--trl", action="store_true")
    words.add_argument("--with", dest="also", default="")
    words.add_argument("--stages", default=",".join(JOBS))
    words.add_argument("--steps", type=int, default=4)
    words.add_argument("--warm", type=int, default=1)
    words.add_argument("--rounds", type=int, default=1)
    words.add_argument("--markdown", type=Path)
    words.add_argument("overrides", nargs="*")
    asked = words.parse_intermixed_args()
    ceiling = peak_of_products(bf16="bf16=true" in asked.overrides)
    print(f"largest product of matrices: {ceiling / 1e9:,.0f} GFLOP/s", file=sys.stderr, flush=True)
    lines = [f"| {' | '.join(HEAD)} |", f"| {' | '.join(['---'] * len(HEAD))} |"]
    parameters = sum(f.stat().st_size for f in Path(asked.model).glob("*.safetensors")) / width_of(asked.model)
    for stage in asked.stages.split(","):
        sides = ["ftk", *(f"ftk, {name}" for name in asked.also.split(",") if name and has(stage, name))]
        sides += ["LLaMA-Factory"] if asked.rival and JOBS[stage].rival else []
        sides += ["TRL"] if asked.trl else []
        found: dict[str, list[Found]] = {side: [] for side in sides}
        for _ in range(asked.rounds):
            for side in sides:
                found[side].append(measured(side, stage, asked))
        ours = typical(found["ftk"])
        for side in sides:
            lines.append(row(stage, side, typical(found[side]), ours, parameters, ceiling))
            print(lines[-1], flush=True)
    if asked.markdown:
        asked.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


def has(stage: str, variant: str) -> bool:
    return stage in ("dpo", "kto") or "precompute_ref_log_probs" not in VARIANTS[variant]


def row(stage: str, side: str, it: Found, ours: Found, parameters: float, ceiling: float) -> str:
    beside = [ours.clock / it.clock, ours.cpu / it.cpu, ours.peak / it.peak]
    ratios = ["" if side == "ftk" else f" ({ratio:.2f})" for ratio in beside]
    speed = ours.tokens / it.clock
    flop = JOBS[stage].flop and JOBS[stage].flop - 2 * (side in ("ftk, known", "ftk, both"))
    share = f"{flop * parameters * speed / ceiling:.0%}" if flop else ""
    times = f"{it.clock:.1f}{ratios[0]} | {it.cpu:.1f}{ratios[1]} | {it.peak:,.0f}{ratios[2]}"
    return f"| {stage} | {side} | {times} | {speed:,.0f} | {share} | {shown(it.losses)} |"


def measured(side: str, stage: str, asked: argparse.Namespace) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        if side in ("ftk, compiled", "ftk, both"):  # fills the compiler's cache on disk, which later runs read
            run(side, stage, asked, asked.warm + asked.steps, Path(folder) / "cache")
        first = run(side, stage, asked, asked.warm, Path(folder) / "first")
        more = run(side, stage, asked, asked.warm + asked.steps, Path(folder) / "more")
    each = [(getattr(more, name) - getattr(first, name)) / asked.steps for name in ("cpu", "clock", "tokens")]
    found = Found(each[0], each[1], more.peak, more.losses, each[2])
    print(f"{stage} {side}: {found}", file=sys.stderr, flush=True)
    return found


def run(side: str, stage: str, asked: argparse.Namespace, steps: int, out: Path) -> Found:
    out.parent.mkdir(exist_ok=True)
    config = out.with_suffix(".yaml")
    ours = {"include_effective_tokens_per_second": True} if side.startswith("ftk") else {}
    ours |= VARIANTS.get(side.removeprefix("ftk, "), {})
    config.write_text(json.dumps(keys(stage, asked, steps, out) | ours), encoding="utf-8")
    program = {
        "LLaMA-Factory": [asked.rival, "train", config],
        "TRL": [sys.executable, Path(__file__).with_name("trl_side.py"), stage, config],
    }.get(side, [sys.executable, "-m", "ftk.cli.main", "run", config])
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    begun = time.perf_counter()
    with out.with_suffix(".log").open("w") as log:
        process = subprocess.Popen(list(map(str, program)), stdout=log, stderr=log, env=environment)
        _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{side} failed at {stage}:\n{out.with_suffix('.log').read_text()[-2000:]}")
    clock = time.perf_counter() - begun
    history = json.loads((out / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    losses = [entry["loss"] for entry in history if "loss" in entry]
    last = history[-1]
    tokens = last.get("effective_tokens_per_sec", 0.0) * last.get("train_runtime", 0.0)
    return Found(used.ru_utime + used.ru_stime, clock, used.ru_maxrss / 1024, losses, tokens)


def peak_of_products(*, bf16: bool) -> float:
    """FLOP/s of a product of two matrices of 4096 x 4096: the best of five."""
    a = torch.randn(4096, 4096, dtype=torch.bfloat16 if bf16 else torch.float32)
    seconds = []
    for _ in range(6):
        begun = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - begun)
    return 2 * 4096**3 / min(seconds[1:])


def width_of(model: str) -> int:
    """Bytes of a parameter in the files of the model."""
    config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    return getattr(torch, config.get("dtype") or config["torch_dtype"]).itemsize


def keys(stage: str, asked: argparse.Namespace, steps: int, out: Path) -> dict[str, object]:
    job = JOBS[stage]
    return {
        "model_name_or_path": asked.model,
        "stage": stage,
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": 8,
        "lora_target": "all",
        "dataset": job.data,
        "dataset_dir": asked.data,
        "template": "smollm",
        "cutoff_len": 512,
        "output_dir": str(out),
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "per_device_train_batch_size": job.rows,
        "gradient_accumulation_steps": job.batches,
        "learning_rate": 1e-5,
        "lr_scheduler_type": "constant",
        "max_steps": steps,
        "seed": 42,
        "use_cpu": True,
        "disable_gradient_checkpointing": True,
        **job.keys,
        **{key: item.value for key, item in parse_overrides(asked.overrides).items()},
    }


def typical(found: Sequence[Found]) -> Found:
    """Medians, with the losses of the first round."""
    middle = {name: statistics.median(getattr(it, name) for it in found) for name in ("cpu", "clock", "peak", "tokens")}
    return Found(losses=found[0].losses, **middle)


def shown(losses: Sequence[float]) -> str:
    return " ".join(f"{loss:.4f}" for loss in losses)


if __name__ == "__main__":
    main()
