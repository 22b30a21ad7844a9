"""Log-probabilities of both answers of pairs, with the prompt computed once where the model can.

Shape suffixes: B pairs, T positions of a row, N target tokens of all rows, in row order.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from ft_plugin_trainer.modes import evaluating
from ft_plugin_trainer.targets import IGNORE, TargetLogprobs, next_tokens, unwrapped
from ftk.problems import RunError

from .losses import Pairs
from .pairs import CHOSEN, PROMPT, REJECTED, PairCollator, in_one_row, in_two_rows

ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}
"""Kinds of layers that carry nothing from position to position but through attention."""
PROBE = ((9, 4, 6), (5, 8, 3))
"""Tokens of the prompt, the chosen and the rejected answer of pairs that show whether a model can share prompts."""


class PairScorer:
    """Scores batches of ``PairCollator`` with any causal model of transformers."""

    def __init__(self, *, share: bool | Literal["auto"] = "auto", ld_alpha: float | None = None) -> None:
        """``share``: whether the prompt is computed once for both answers. ``auto``: where that works and is less work.

        ld_alpha  what tokens beyond the shorter answer's length count: LD-DPO (arXiv:2409.06411), for the
                  policy and for the reference
        """
        self.share, self.ld_alpha = share, ld_alpha
        self.logprobs = TargetLogprobs()
        self._fault: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()

    def __call__(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> tuple[Pairs, Any]:
        """The pairs without a reference, and what the model returned."""
        one_row = self.shares(model, batch)
        logprobs_N, outputs = self.token_logprobs(model, batch, one_row=one_row)
        return self.pairs(logprobs_N, batch), outputs

    def token_logprobs(
        self, model: nn.Module, batch: Mapping[str, torch.Tensor], *, one_row: bool
    ) -> tuple[torch.Tensor, Any]:
        """Of every target of chosen and rejected of the first pair, the second, ...: both ways give the same."""
        inputs, labels = inputs_of(model, batch, one_row=one_row)
        targets_BT = next_tokens(labels)
        scores = self.logprobs(model, inputs, targets_BT)
        return scores.logprobs_N, scores.outputs

    def pairs(self, logprobs_N: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> Pairs:
        """Sums over answers."""
        target_BT = batch["labels"] != IGNORE
        segments_BT = batch["segments"]
        sides = [target_BT & (segments_BT == part) for part in (CHOSEN, REJECTED)]
        tokens = [side_BT.sum(1) for side_BT in sides]
        weight_BT = torch.ones_like(segments_BT, dtype=logprobs_N.dtype)
        if self.ld_alpha is not None:
            common_B1 = torch.minimum(*tokens)[:, None]
            for side_BT in sides:
                weight_BT = torch.where(side_BT & (side_BT.cumsum(1) > common_B1), self.ld_alpha, weight_BT)
        values_BT = torch.zeros_like(weight_BT).masked_scatter(target_BT, logprobs_N)
        chosen_B, rejected_B = ((values_BT * weight_BT * side_BT).sum(1) for side_BT in sides)
        return Pairs(
            chosen_B=chosen_B,
            rejected_B=rejected_B,
            chosen_mean_B=(values_BT * sides[0]).sum(1) / tokens[0],
            chosen_tokens_B=tokens[0],
            rejected_tokens_B=tokens[1],
        )

    def shares(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> bool:
        """Whether the batch is computed with its prompts shared. Raises RunError where that is asked for in vain."""
        if self.share is False:
            return False
        inner = unwrapped(model)
        if inner not in self._fault:
            self._fault[inner] = self._find_fault(model)
        if self.share is True and self._fault[inner]:
            message = f"pref_shared_prompt: this model cannot share prompts: {self._fault[inner]}"
            raise RunError(message, "set pref_shared_prompt: auto")
        if self._fault[inner] or longest(batch) > window_of(inner.config.get_text_config()):
            return False
        return self.share is True or is_less_work(model, batch)

    def _find_fault(self, model: nn.Module) -> str:
        """Why the model cannot compute both answers in one row; empty when it can. What cannot be read is measured."""
        config = unwrapped(model).config.get_text_config()
        attention = getattr(config, "_attn_implementation", None)
        if attention not in ("sdpa", "eager"):
            return f"its attention {attention!r} takes no mask"
        if others := {*(getattr(config, "layer_types", None) or ())} - ATTENTION:
            return f"not all of its layers are attention ({', '.join(sorted(others))})"
        if window_of(config) < sum(PROBE[0]):
            return f"its window of {window_of(config)} positions is too short"
        batch = _probe_batch(model)
        with torch.no_grad(), torch.random.fork_rng(), evaluating(model):
            two_N, _ = self.token_logprobs(model, batch, one_row=False)
            try:
                one_N, _ = self.token_logprobs(model, batch, one_row=True)
            except Exception as e:  # a model that takes no such mask may fail in any way
                return f"it fails with {type(e).__name__}: {e}"
        half = any(p.dtype in (torch.bfloat16, torch.float16) for p in model.parameters()) or _autocasts()
        if (one_N - two_N).abs().mean() > (3e-2 if half else 1e-4) * two_N.abs().mean():
            return "it gives the answers other log-probabilities than alone"
        return ""


def inputs_of(
    model: nn.Module, batch: Mapping[str, torch.Tensor], *, one_row: bool
) -> tuple[dict[str, Any], torch.Tensor]:
    """What the model is given, and the labels of its positions: a row for each pair, or one for each answer."""
    if not one_row:
        inputs = in_two_rows(batch)
        labels = inputs.pop("labels")
        return {**inputs, "use_cache": False}, labels
    made = in_one_row(batch)
    inputs = {
        "input_ids": batch["input_ids"],
        "attention_mask": _as_attention_takes_it(made["mask"], model),
        "position_ids": made["position_ids"],
    }
    return {**inputs, "use_cache": False}, batch["labels"]


def window_of(config: Any) -> float:
    """How far back every layer of the model looks. The mask of a shared row says who sees whom for all layers alike."""
    sizes = (getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size"))
    return min((size for size in sizes if size), default=math.inf)


def longest(batch: Mapping[str, torch.Tensor]) -> int:
    """Positions of the longest conversation, prompt and answer."""
    sides = ((PROMPT, CHOSEN), (PROMPT, REJECTED))
    return max(int(sum((batch["segments"] == part).sum(1) for part in side).max()) for side in sides)


def is_less_work(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> bool:
    """Whether one row per pair is less work than two.

    A layer of width H costs some ``12 H^2`` products for each position and ``2 H`` for each that another one looks at.
    """
    width = 6 * unwrapped(model).config.get_text_config().hidden_size

    def work(rows: int, positions: int) -> int:
        return rows * positions * (width + positions)

    rows = batch["labels"].shape[0]
    return work(*batch["labels"].shape) < work(2 * rows, longest(batch))


def _as_attention_takes_it(mask_B1TT: torch.Tensor, model: nn.Module) -> torch.Tensor:
    """What ``sdpa`` wants as true and false, ``eager`` adds to the scores."""
    inner = unwrapped(model)
    if inner.config.get_text_config()._attn_implementation == "sdpa":
        return mask_B1TT
    dtype = inner.dtype if inner.dtype.is_floating_point else torch.float32
    return torch.zeros(mask_B1TT.shape, dtype=dtype, device=mask_B1TT.device).masked_fill(
        ~mask_B1TT, torch.finfo(dtype).min
    )


def _probe_batch(model: nn.Module) -> dict[str, torch.Tensor]:
    """Pairs whose tokens are all different as far as the vocabulary reaches."""
    embeddings = unwrapped(model).get_input_embeddings().weight
    ids = iter(range(3, 10_000, 7))
    rows = []
    for lengths in PROBE:
        prompt, chosen, rejected = ([next(ids) % embeddings.shape[0] for _ in range(n)] for n in lengths)
        answers = {"chosen_input_ids": chosen, "chosen_labels": chosen}
        answers |= {"rejected_input_ids": rejected, "rejected_labels": rejected}
        rows.append({"prompt_input_ids": prompt, **answers})
    return {name: value.to(embeddings.device) for name, value in PairCollator(0)(rows).items()}


def _autocasts() -> bool:
    return torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")
