"""Time and peak memory of log-probabilities of targets against vocabulary size, beside whole logits.

usage: python tests/benchmarks/logprobs.py [--hidden 576] [--targets 2048] [--vocabularies 32000,49152,...] [--rounds 3]

From hidden states of TARGETS positions and an output head to the sum of their log-probabilities and back to gradients
of the hidden states, and of the head where it trains, in float32. ``whole`` is what is written without thinking:
``(hidden @ head.T).log_softmax(-1)``, of which the targets are picked. Each measurement is a process of its own. MB: the
peak of its resident memory above what it held when hidden states, head and the gradient of a trained head were there.
CPU s: of the second of two passes. For Linux.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import psutil
import torch
from torch.nn import functional as F

from ft_plugin_trainer.logprobs import linear_logprobs

VOCABULARIES = (32_000, 49_152, 128_256, 151_936, 262_144)
HEAD = ("vocabulary", "head", "ftk MB", "whole MB", "of it", "ftk CPU s", "whole CPU s", "of it")


def main() -> None:
    words = argparse.ArgumentParser(usage=__doc__)
    words.add_argument("--hidden", type=int, default=576)
    words.add_argument("--targets", type=int, default=2048)
    words.add_argument(
        "--vocabularies", type=lambda text: [int(word) for word in text.split(",")], default=VOCABULARIES
    )
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    asked = words.parse_args()
    if asked.one:
        way, head, size = asked.one
        print(json.dumps(measured(way, head == "trained", asked.targets, asked.hidden, int(size))))
        return
    print(f"| {' | '.join(HEAD)} |\n| {' | '.join(['---:', '---', *['---:'] * 6])} |")
    for size in asked.vocabularies:
        for head in ("frozen", "trained"):
            found = {
                way: [in_a_process(way, head, size, asked) for _ in range(asked.rounds)] for way in ("ftk", "whole")
            }
            megabytes, seconds = (
                [statistics.median(pair[i] for pair in pairs) for pairs in found.values()] for i in range(2)
            )
            cells = [f"{size:,}", head]
            cells += [f"{megabytes[0]:,.0f}", f"{megabytes[1]:,.0f}", f"{megabytes[0] / megabytes[1]:.2f}"]
            cells += [f"{seconds[0]:.2f}", f"{seconds[1]:.2f}", f"{seconds[0] / seconds[1]:.2f}"]
            print(f"| {' | '.join(cells)} |", flush=True)


def in_a_process(way: str, head: str, size: int, asked: argparse.Namespace) -> tuple[float, float]:
    sizes = ["--hidden", str(asked.hidden), "--targets", str(asked.targets)]
    command = [sys.executable, __file__, *sizes, "--one", way, head, str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return tuple(json.loads(done.stdout))


def measured(way: str, trained: bool, targets: int, hidden: int, size: int) -> tuple[float, float]:
    """Peak megabytes and CPU seconds."""
    torch.manual_seed(0)
    hidden_NH = torch.randn(targets, hidden, requires_grad=True)
    weight_VH = torch.randn(size, hidden).mul_(0.02).requires_grad_(trained)
    targets_N = torch.randint(size, (targets,))
    if trained:
        weight_VH.grad = torch.zeros_like(weight_VH)
    hidden_NH.grad = torch.zeros_like(hidden_NH)

    def once() -> None:
        if way == "ftk":
            logp_N = linear_logprobs(hidden_NH, weight_VH, targets_N)
        else:
            logp_N = F.linear(hidden_NH, weight_VH).log_softmax(-1).gather(1, targets_N[:, None])
        logp_N.sum().backward()

    before = psutil.Process().memory_info().rss
    once()
    began = time.process_time()
    once()
    seconds = time.process_time() - began
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before / 2**20, seconds


if __name__ == "__main__":
    main()
