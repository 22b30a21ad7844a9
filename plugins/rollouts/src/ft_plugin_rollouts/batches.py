"""Micro-batches of completions that a policy learns from, and what is logged of them.

Shape suffixes: B completions, T positions of prompt and completion, N tokens of completions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import torch
from torch import nn

from ft_plugin_trainer.forks import Forks
from ft_plugin_trainer.joining import joined_for
from ft_plugin_trainer.logprobs import gather_logprobs
from ft_plugin_trainer.objective import Sums
from ft_plugin_trainer.targets import IGNORE, TargetLogprobs, next_tokens

METRIC = "metric/"
"""Prefix of columns of a batch that are logged: a number for each row, NaN where there is none."""


def token_batch(rows: Sequence[tuple[list[int], int]], pad: int) -> dict[str, torch.Tensor]:
    """Prompts with their completions, padded on the right.

    rows  token ids, and where those begin that carry loss

    input_ids, attention_mask, labels (B, T): ``IGNORE`` but at tokens that carry loss
    """
    shape = (len(rows), max(len(ids) for ids, _ in rows))
    batch = {"input_ids": torch.full(shape, pad), "labels": torch.full(shape, IGNORE)}
    batch["attention_mask"] = torch.zeros(shape, dtype=torch.long)
    for i, (ids, start) in enumerate(rows):
        batch["input_ids"][i, : len(ids)] = torch.tensor(ids)
        batch["attention_mask"][i, : len(ids)] = 1
        batch["labels"][i, start : len(ids)] = torch.tensor(ids[start:])
    return batch


def metric_columns(metrics: Iterable[Mapping[str, float]]) -> dict[str, torch.Tensor]:
    """What is logged of each row, as columns (B) of a batch."""
    rows = list(metrics)
    return {METRIC + name: torch.tensor([row[name] for row in rows], dtype=torch.float64) for name in rows[0]}


def metric_sums(batch: Mapping[str, torch.Tensor]) -> Sums:
    """Of each metric: the sum over the rows that have it, and their number."""
    return {
        name.removeprefix(METRIC): (values_B.nansum(), (~values_B.isnan()).sum())
        for name, values_B in batch.items()
        if name.startswith(METRIC)
    }


def on_device(batch: Mapping[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    """The batch there; in float32 what is in float64, where the device knows none."""
    narrower = {torch.float64: torch.float32} if device.type == "mps" else {}
    return {name: value.to(device, narrower.get(value.dtype, value.dtype)) for name, value in batch.items()}


def drawn_logprobs(
    scores: TargetLogprobs,
    model: nn.Module,
    batch: Mapping[str, torch.Tensor],
    *,
    temperature: float,
    forks: Forks | None = None,
) -> torch.Tensor:
    """Log-probabilities (N) of the targets by the distribution that was drawn from.

    forks  where given, a prompt that neighbours share is computed once if the model can
    """
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    if forks is not None:
        inputs = joined_for(model, forks, inputs)
    targets_BT = next_tokens(inputs.pop("labels"))
    if temperature == 1:
        return scores(model, {**inputs, "use_cache": False}, targets_BT).logprobs_N
    function = partial(at_temperature, temperature=temperature)
    return scores.values(model, {**inputs, "use_cache": False}, targets_BT, function).logprobs_N


def at_temperature(logits_NV: torch.Tensor, targets_N: torch.Tensor, *, temperature: float) -> torch.Tensor:
    return gather_logprobs(logits_NV / temperature, targets_N)
