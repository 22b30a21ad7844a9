"""Rows in which several continuations follow one prefix, computed without what nobody sees.

A row is ``prefix | branch | branch | ...``, padded on the right. A position sees those of the prefix and of its own
branch up to itself, so every branch gets what ``prefix + branch`` would give alone, and the prefix is computed once.
Targets stand in branches, but not at their beginning: let each begin with the last token that they share, rather than
the prefix end with it, and there is a position in each from which the next one is predicted.

Who sees whom is told to the model by an attention mask of four dimensions, which models of transformers hand to
attention as it is. ``attention`` reads from a mask of integers how long the parts are, and computes row by row and part
by part; any other mask goes to transformers' ``sdpa``. A model computes with it where ``Forks`` has measured that the
results are right. Otherwise the mask says of every two positions whether one sees the other, or branches are computed
apart.

Shape suffixes: B rows, T positions of a row, K parts of a row (the prefix, the first branch, ...; a row with fewer
branches has some of length 0), R conversations of a prefix and a branch, S positions of one.
"""

from __future__ import annotations

import math
import weakref
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from .modes import evaluating
from .targets import IGNORE, TargetLogprobs, next_tokens, unwrapped

Columns = dict[str, torch.Tensor]
"""``input_ids``, and what else there is of each position, as ``labels``; of shape (B, T)."""
NAME = "sdpa_forks"
LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}
"""Kinds of layers that carry nothing from position to position but through attention."""
PROBE = ((9, 4, 6), (5, 8, 3))
"""Lengths of the parts of rows that show whether a model can compute them together."""


def attention(
    module: nn.Module,
    query_BHTD: torch.Tensor,
    key_BHTD: torch.Tensor,
    value_BHTD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """An attention function of transformers: ``sdpa``, and rows of ``together`` part by part."""
    if attention_mask is None or attention_mask.dtype != torch.long:
        return sdpa_attention_forward(module, query_BHTD, key_BHTD, value_BHTD, attention_mask, **kwargs)
    if kwargs.get("position_bias") is not None or query_BHTD.shape[2] != key_BHTD.shape[2]:
        raise NotImplementedError("a bias of positions, or keys from elsewhere")
    return _by_parts(module, (query_BHTD, key_BHTD, value_BHTD), attention_mask, **kwargs), None


@torch.compiler.disable
def _by_parts(
    module: nn.Module, tensors_BHTD: tuple[torch.Tensor, ...], lengths_B1GK: torch.Tensor, **kwargs: Any
) -> torch.Tensor:
    """``lengths_B1GK``: of the K parts of each of G forks that stand one behind the other in a row."""
    b, h, t, _ = tensors_BHTD[0].shape
    rows, sizes = lengths_B1GK[:, 0].tolist(), []
    for forks in rows:
        sizes += [n for prefix, *branches in forks for n in (prefix + sum(branches[:1]), *branches[1:])]
        sizes.append(t - sum(map(sum, forks)))
    # One split of all rows, as its backward pass is one copy, where each slice would have to be padded with zeros.
    pieces = zip(*(x.transpose(1, 2).flatten(0, 1).split(sizes) for x in tensors_BHTD), strict=True)
    outputs = []

    def attend(*tensors_nHD: torch.Tensor, mask: torch.Tensor | None = None) -> None:
        if len(tensors_nHD[0]):
            inputs = (x.transpose(0, 1)[None] for x in tensors_nHD)
            outputs.append(sdpa_attention_forward(module, *inputs, mask, **kwargs)[0][0])

    for forks in rows:
        for prefix, *branches in forks:
            query, key, value = next(pieces)
            attend(query, key, value)
            before = key[:prefix], value[:prefix]
            for n in branches[1:]:
                query, *own = next(pieces)
                sees = torch.ones(1, 1, n, prefix + n, dtype=torch.bool, device=query.device).tril(prefix)
                attend(query, *(torch.cat(pair) for pair in zip(before, own, strict=True)), mask=sees)
        padding = next(pieces)[2]
        outputs.append(padding.new_zeros(len(padding), h, padding.shape[-1]))
    return torch.cat(outputs).unflatten(0, (b, t))


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


class Forks:
    """Makes what a model is given of rows with branches: in one row together, or each branch apart.

    Targets come in the same order both ways, and have the same log-probabilities but for rounding.
    """

    def __init__(self) -> None:
        self._found: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()

    def fault(self, model: nn.Module) -> str:
        """Why the model cannot compute branches together; empty when it can. What cannot be read is measured.

        A model that computes them by parts does so from now on; this changes its config, not what that saves.
        """
        inner = unwrapped(model)
        if inner not in self._found:
            self._found[inner] = self._find_fault(model)
        return self._found[inner]

    def worth(self, model: nn.Module, lengths_BK: torch.Tensor) -> bool:
        """Whether these rows can be computed together, and that is less work than apart."""
        return self.by_parts(model, lengths_BK) or (
            not self.fault(model) and self.fits(model, lengths_BK) and is_less_work(model, lengths_BK)
        )

    def by_parts(self, model: nn.Module, lengths_BK: torch.Tensor) -> bool:
        """Whether the model computes such rows part by part, which is never more work."""
        by_parts = not self.fault(model) and _config(model)._attn_implementation == NAME
        return by_parts and self.fits(model, lengths_BK)

    def fits(self, model: nn.Module, lengths_BK: torch.Tensor) -> bool:
        """Whether no window of the model is shorter than a conversation. A mask says who sees whom in all layers."""
        longest = lengths_BK[:, 0] + nn.functional.pad(lengths_BK, (0, 1))[:, 1:].amax(1)
        return int(longest.max()) <= window_of(_config(model))

    def inputs(self, model: nn.Module, columns: Columns, lengths_BK: torch.Tensor) -> Columns:
        """``columns``, ``attention_mask`` and perhaps ``position_ids``, in whichever way is less work."""
        if self.worth(model, lengths_BK):
            return self.together(model, columns, lengths_BK)
        return apart(columns, lengths_BK)

    def together(self, model: nn.Module, columns: Columns, lengths_BK: torch.Tensor) -> Columns:
        """Where the model computes them by parts, in one row without padding: whatever is B above is 1 in it."""
        segments_BT = segments(lengths_BK, columns["input_ids"].shape[1])
        positions_BT = positions(lengths_BK, segments_BT)
        if _config(model)._attn_implementation != NAME:
            mask = _as_attention_takes_it(visible(segments_BT, lengths_BK.shape[1]), unwrapped(model))
            return {**columns, "attention_mask": mask, "position_ids": positions_BT}
        real_BT = segments_BT < lengths_BK.shape[1]
        placed = {**columns, "position_ids": positions_BT}
        packed = {name: value_BT[real_BT][None] for name, value_BT in placed.items()}
        return {**packed, "attention_mask": lengths_BK.cpu()[None, None]}

    def _find_fault(self, model: nn.Module) -> str:
        config = _config(model)
        before = getattr(config, "_attn_implementation", None)
        if before not in ("sdpa", "eager", NAME):
            return f"its attention {before!r} takes no mask"
        if others := {*(getattr(config, "layer_types", None) or ())} - LAYERS:
            return f"not all of its layers are attention ({', '.join(sorted(others))})"
        if window_of(config) < sum(PROBE[0]):
            return f"its window of {window_of(config)} positions is too short"
        if before == "eager":
            return self._measured_fault(model)
        config._attn_implementation = NAME
        if not self._measured_fault(model):
            return ""
        config._attn_implementation = "sdpa"
        return self._measured_fault(model)

    def _measured_fault(self, model: nn.Module) -> str:
        columns, lengths_BK = _probe(model)
        logprobs = TargetLogprobs()

        def logprobs_of(inputs: Columns) -> torch.Tensor:
            targets_BT = next_tokens(inputs.pop("labels"))
            return logprobs(model, {**inputs, "use_cache": False}, targets_BT).logprobs_N

        with torch.no_grad(), torch.random.fork_rng(), evaluating(model):
            apart_N = logprobs_of(apart(columns, lengths_BK))
            try:
                together_N = logprobs_of(self.together(model, columns, lengths_BK))
            except Exception as e:  # a model that takes no such mask may fail in any way
                return f"it fails with {type(e).__name__}: {e}"
        half = any(p.dtype in (torch.bfloat16, torch.float16) for p in model.parameters()) or _autocasts()
        if (together_N - apart_N).abs().mean() > (3e-2 if half else 1e-4) * apart_N.abs().mean():
            return "it gives the branches other log-probabilities than alone"
        return ""


def segments(lengths_BK: torch.Tensor, width: int) -> torch.Tensor:
    """Which part each position (B, T) belongs to, counted from 0, the prefix; K is padding."""
    steps_T = torch.arange(width, device=lengths_BK.device)
    return (steps_T >= lengths_BK.cumsum(1)[..., None]).sum(1)


def lengths_of(segments_BT: torch.Tensor, parts: int) -> torch.Tensor:
    """How long each of so many parts is (B, K): what ``segments`` was made of."""
    return torch.stack([(segments_BT == part).sum(1) for part in range(parts)], 1)


def positions(lengths_BK: torch.Tensor, segments_BT: torch.Tensor) -> torch.Tensor:
    """``position_ids`` (B, T), as if each branch stood behind the prefix; 0 of padding."""
    steps_BT = torch.arange(segments_BT.shape[1], device=lengths_BK.device).expand_as(segments_BT)
    skipped_BT = nn.functional.pad(_skipped(lengths_BK), (0, 1)).gather(1, segments_BT)
    return (steps_BT - skipped_BT).masked_fill(segments_BT == lengths_BK.shape[1], 0)


def visible(segments_BT: torch.Tensor, padding: int) -> torch.Tensor:
    """Who sees whom (B, 1, T, T). Padding sees itself, as somebody must be seen."""
    asks_BT1, asked_B1T = segments_BT[:, :, None], segments_BT[:, None, :]
    sees_BTT = (asked_B1T == asks_BT1) | (asked_B1T == 0)
    earlier_TT = torch.ones(segments_BT.shape[1:] * 2, dtype=torch.bool, device=segments_BT.device).tril()
    itself_TT = torch.eye(segments_BT.shape[1], dtype=torch.bool, device=segments_BT.device)
    return (sees_BTT & earlier_TT & ((asks_BT1 != padding) | itself_TT))[:, None]


def apart(columns: Columns, lengths_BK: torch.Tensor) -> Columns:
    """``columns`` of prefix and branch of each branch (R, S), and ``attention_mask``: a row's in order, row by row."""
    exists_BK = lengths_BK[:, 1:] > 0
    sizes_R = _conversations(lengths_BK)[exists_BK]
    skipped_R, row_R = _skipped(lengths_BK)[:, 1:][exists_BK], exists_BK.nonzero()[:, 0]
    steps_S = torch.arange(int(sizes_R.max()), device=lengths_BK.device)
    index_RS = steps_S + skipped_R[:, None] * (steps_S >= lengths_BK[row_R, :1])
    real_RS = steps_S < sizes_R[:, None]
    made = {}
    for name, value_BT in columns.items():
        value_RS = value_BT[row_R[:, None], index_RS.where(real_RS, 0)]
        made[name] = value_RS.masked_fill(~real_RS, IGNORE if name == "labels" else 0)
    return {**made, "attention_mask": real_RS.long()}


def window_of(config: Any) -> float:
    """How far back every layer of the model looks."""
    sizes = (getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size"))
    return min((size for size in sizes if size), default=math.inf)


def is_less_work(model: nn.Module, lengths_BK: torch.Tensor) -> bool:
    """Whether rows with a mask for every two positions are less work than branches apart.

    A layer of width H costs some ``12 H^2`` products for each position and ``2 H`` for each that another one looks at.
    By parts it always is: no position is computed twice, and none looks at more.
    """
    width = 6 * _config(model).hidden_size

    def work(rows: int, length: int) -> int:
        return rows * length * (width + length)

    conversations_BK = _conversations(lengths_BK)
    apart = work(int((lengths_BK[:, 1:] > 0).sum()), int(conversations_BK.max()))
    return work(len(lengths_BK), int(lengths_BK.sum(1).max())) < apart


def _conversations(lengths_BK: torch.Tensor) -> torch.Tensor:
    """Positions of the prefix and each branch (B, K - 1)."""
    return lengths_BK[:, :1] + lengths_BK[:, 1:]


def _skipped(lengths_BK: torch.Tensor) -> torch.Tensor:
    """How many positions stand between the prefix and each part (B, K)."""
    starts_BK = lengths_BK.cumsum(1) - lengths_BK
    return (starts_BK - lengths_BK[:, :1]).clamp(min=0)


def _config(model: nn.Module) -> Any:
    return unwrapped(model).config.get_text_config()


def _as_attention_takes_it(mask_B1TT: torch.Tensor, model: nn.Module) -> torch.Tensor:
    """What ``sdpa`` wants as true and false, ``eager`` adds to the scores."""
    if _config(model)._attn_implementation == "sdpa":
        return mask_B1TT
    dtype = model.dtype if model.dtype.is_floating_point else torch.float32
    return torch.zeros(mask_B1TT.shape, dtype=dtype, device=mask_B1TT.device).masked_fill(
        ~mask_B1TT, torch.finfo(dtype).min
    )


def _probe(model: nn.Module) -> tuple[Columns, torch.Tensor]:
    """Rows whose tokens are all different as far as the vocabulary reaches. All tokens but the first are targets."""
    embeddings = unwrapped(model).get_input_embeddings().weight
    lengths_BK = torch.tensor(PROBE, device=embeddings.device)
    width = int(lengths_BK.sum(1).max())
    ids = torch.arange(3, 3 + 7 * len(PROBE) * width, 7, device=embeddings.device) % embeddings.shape[0]
    ids_BT, segments_BT = ids.view(len(PROBE), width), segments(lengths_BK, width)
    behind_BT = segments_BT == nn.functional.pad(segments_BT[:, :-1], (1, 0), value=-1)
    targets_BT = behind_BT & (segments_BT > 0) & (segments_BT < lengths_BK.shape[1])
    return {"input_ids": ids_BT, "labels": ids_BT.where(targets_BT, IGNORE)}, lengths_BK


def _autocasts() -> bool:
    return torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")
