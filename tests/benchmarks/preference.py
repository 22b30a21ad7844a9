"""Time and memory of a dpo step, beside TRL's trainer on the same model, pairs and settings.

usage: python tests/benchmarks/preference.py [MODEL] [--rounds N] [--steps N] [--prompt N] [--answer N] [--pairs N]

MODEL is a folder; without one, a Llama of 13 million parameters with random weights. Each side trains in a process of its
own, in turns, so that what else the machine does meets both. ``s/step`` is the median step without the first; ``MB``
the peak of the process's memory above what it held when everything was built. Both sides must have the same losses.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import datasets
import peft
import psutil
import torch
import trl
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, TrainerCallback

from ftk.execute import start
from ftk.markers import hookimpl
from ftk_sdk import fakes
from ftk_sdk.testing import make_run
from ftk_sdk.tiny import tiny_tokenizer

WAYS = {"full": {}, "full, reference before": {"precompute": True}, "lora": {"lora": True}}
WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "seven",
    "wizards",
    "pack",
    "my",
    "box",
    "with",
    "five",
    "dozen",
    "liquor",
    "jugs",
]


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("model", nargs="?")
    for name, default in (("rounds", 3), ("steps", 5), ("prompt", 200), ("answer", 40), ("pairs", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = asked.model or str(made_up(folder / "model"))
        (folder / "rows.json").write_text(json.dumps(rows(asked.pairs, asked.prompt, asked.answer)))
        print(f"{'':24} {'ftk s/step':>10} {'TRL s/step':>10} {'ratio':>6} {'ftk MB':>8} {'TRL MB':>8} {'ratio':>6}")
        for way in WAYS:
            found: dict[str, list[dict]] = {"ftk": [], "trl": []}
            for _ in range(asked.rounds):
                for side in found:
                    found[side].append(in_a_process(side, way, model, folder, asked.steps, asked.pairs))
            report(way, found)


def made_up(folder: Path) -> Path:
    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=320,
        intermediate_size=960,
        num_hidden_layers=6,
        num_attention_heads=5,
        num_key_value_heads=5,
        pad_token_id=3,
        bos_token_id=None,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def rows(pairs: int, prompt: int, answer: int) -> list[dict[str, str]]:
    """Prompts of about these many words, answers of between half as many and as many as asked for."""
    draw = random.Random(0)

    def text(words: int) -> str:
        return " ".join(draw.choice(WORDS) for _ in range(words))

    def length() -> int:
        return draw.randint(answer // 2, answer)

    return [
        {
            "instruction": text(draw.randint(prompt * 3 // 4, prompt)),
            "chosen": text(length()),
            "rejected": text(length()),
        }
        for _ in range(pairs)
    ]


def in_a_process(side: str, way: str, model: str, folder: Path, steps: int, pairs: int) -> dict:
    words = [sys.executable, __file__, "--side", side, way, model, str(folder), str(steps), str(pairs)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{side}, {way}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def report(way: str, found: dict[str, list[dict]]) -> None:
    losses = [found[side][0]["losses"] for side in ("ftk", "trl")]
    worst = max(abs(a - b) for a, b in zip(*losses, strict=True))
    if worst > 2e-3:
        sys.exit(f"{way}: losses differ by up to {worst:.2g}: {losses}")
    seconds, megabytes = (
        {side: statistics.median(one[what] for one in found[side]) for side in found}
        for what in ("seconds", "megabytes")
    )
    cells = [f"{way:24}"]
    for figures, form in ((seconds, "10.3f"), (megabytes, "8.0f")):
        cells += [f"{figures[side]:{form}}" for side in ("ftk", "trl")] + [f"{figures['ftk'] / figures['trl']:6.2f}"]
    print(" ".join(cells), flush=True)


# One side, in its process.


class Steps(TrainerCallback):
    """Times steps, and watches memory from the first one on."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.process = psutil.Process()
        self.base = self.peak = 0
        self.ends = threading.Event()

    def on_train_begin(self, *args, **kwargs) -> None:
        self.base = self.peak = self.process.memory_info().rss
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self.ends.wait(0.005):
            self.peak = max(self.peak, self.process.memory_info().rss)

    def on_step_begin(self, *args, **kwargs) -> None:
        self.start = time.perf_counter()

    def on_step_end(self, *args, **kwargs) -> None:
        self.seconds.append(time.perf_counter() - self.start)

    def result(self, losses: list[float]) -> None:
        self.ends.set()
        made = {"seconds": statistics.median(self.seconds[1:]), "megabytes": (self.peak - self.base) / 1e6}
        print(json.dumps({**made, "losses": losses}))


SETTINGS = {"learning_rate": 1e-3, "lr_scheduler_type": "constant", "save_strategy": "no", "logging_steps": 1}


def ours(way: str, model: str, folder: Path, steps: int, pairs: int) -> None:
    wanted = WAYS[way]
    keys = {
        "stage": "dpo",
        "finetuning_type": "lora" if wanted.get("lora") else "full",
        "model_name_or_path": model,
        "model_dtype": "float32",
        "template": "chatml",
        "dataset": str(folder / "rows.json"),
        "output_dir": str(folder / "ftk"),
        "overwrite_output_dir": True,
        "per_device_train_batch_size": pairs,
        "max_steps": steps,
        "cutoff_len": 4096,
        "precompute_ref_log_probs": bool(wanted.get("precompute")),
        **SETTINGS,
    }
    trained(keys)


def trained(keys: dict) -> None:
    watch = Steps()

    class Watch:
        @hookimpl
        def ftk_callbacks(self):
            return [watch]

    watching = fakes.plugin(
        "watch", offers={"addon:watch": Watch}, hooks={"ftk_select": lambda config: ["addon:watch"]}
    )
    start(make_run(keys, plugins=fakes.installed_with(watching)))
    log = (Path(keys["output_dir"]) / "trainer_log.jsonl").read_text().splitlines()
    watch.result([json.loads(line)["loss"] for line in log])


def theirs(way: str, model: str, folder: Path, steps: int, pairs: int) -> None:
    wanted, watch = WAYS[way], Steps()
    rows = [
        {
            "prompt": [{"role": "user", "content": row["instruction"]}],
            "chosen": [{"role": "assistant", "content": row["chosen"]}],
            "rejected": [{"role": "assistant", "content": row["rejected"]}],
        }
        for row in json.loads((folder / "rows.json").read_text())
    ]
    args = trl.DPOConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=pairs,
        max_steps=steps,
        max_length=4096,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        report_to=[],
        disable_tqdm=True,
        precompute_ref_log_probs=bool(wanted.get("precompute")),
        **SETTINGS,
    )

    def loaded():
        return AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)

    lora = peft.LoraConfig(r=8, lora_alpha=16, target_modules="all-linear") if wanted.get("lora") else None
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = tiny_tokenizer().chat_template
    trainer = trl.DPOTrainer(
        model=loaded(),
        ref_model=None if lora else loaded(),
        args=args,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora,
        callbacks=[watch],
    )
    trainer.train()
    watch.result([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])


SIDES: dict[str, Callable[[str, str, Path, int, int], None]] = {"ftk": ours, "trl": theirs}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        side, way, model, folder, steps, pairs = sys.argv[2:]
        SIDES[side](way, model, Path(folder), int(steps), int(pairs))
    else:
        main()
