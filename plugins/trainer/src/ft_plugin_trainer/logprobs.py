"""Log-probabilities of chosen tokens, from hidden states and an output head, without the logits of other positions.

Shape suffixes: N targets, H hidden size, V vocabulary, B rows, T positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

CHUNK_ELEMENTS = 1 << 24
"""Logits held at once: 64 MB in float32."""


@dataclass(frozen=True, slots=True)
class LogitShape:
    """What a model does to the product of its head before it calls it logits: ``cap * tanh(scale * z / cap)``."""

    scale: float = 1.0
    cap: float | None = None

    def __call__(self, z_NV: torch.Tensor) -> torch.Tensor:
        if self.scale != 1.0:
            z_NV = z_NV * self.scale
        return z_NV if self.cap is None else self.cap * torch.tanh(z_NV / self.cap)


def gather_logprobs(logits_NV: torch.Tensor, targets_N: torch.Tensor, *, label_smoothing: float = 0.0) -> torch.Tensor:
    """The plain computation: log-probabilities of targets from all their logits, in float32 or better.

    With label smoothing the target's distribution q is ``1 - label_smoothing`` on the token and the rest spread evenly
    over the vocabulary (arXiv:1512.00567, section 7), and the result is the sum over v of ``q_v log p_v``.
    """
    logits_NV = logits_NV.to(exact_dtype(logits_NV.dtype))
    return -F.cross_entropy(logits_NV, targets_N, reduction="none", label_smoothing=label_smoothing)


def linear_logprobs(
    hidden_NH: torch.Tensor,
    weight_VH: torch.Tensor,
    targets_N: torch.Tensor,
    *,
    bias_V: torch.Tensor | None = None,
    shape: LogitShape = LogitShape(),
    label_smoothing: float = 0.0,
    chunk_elements: int = CHUNK_ELEMENTS,
) -> torch.Tensor:
    """``gather_logprobs(shape(hidden @ weight.T + bias), targets)``, holding ``chunk_elements`` logits at a time.

    The gradient is exact for ``hidden``, ``weight`` and ``bias``. That of ``hidden`` is worked out in the forward pass,
    as d log p_n / d hidden_n does not depend on what is done with the result: so the backward pass of a frozen head
    costs nothing. A trained head's gradient needs the logits of a chunk again, unless all of them were one chunk.

    Products are made in the type that autocast asks for, or else in that of ``hidden``; sums in float32 or better.
    """
    rule = partial(_logprob_and_slope, shape=shape, smoothing=label_smoothing)
    return _apply(rule, hidden_NH, weight_VH, bias_V, [targets_N], chunk_elements)


def linear_values(
    function: Callable[..., torch.Tensor],
    hidden_NH: torch.Tensor,
    weight_VH: torch.Tensor,
    columns: Sequence[torch.Tensor],
    *,
    bias_V: torch.Tensor | None = None,
    shape: LogitShape = LogitShape(),
    chunk_elements: int = CHUNK_ELEMENTS,
) -> torch.Tensor:
    """``function(shape(hidden @ weight.T + bias), *columns)``, holding ``chunk_elements`` logits at a time.

    function  logits (n, V) and n rows of each column -> n values. It is called with parts of the rows, perhaps more
              than once with each, so the value of a row may depend on nothing but that row.

    The gradient is exact for ``hidden``, ``weight`` and ``bias``; columns get none. It is worked out in the forward
    pass, as that of ``linear_logprobs`` is, and for the same reason.
    """
    return _apply(partial(_value_and_slope, function, shape), hidden_NH, weight_VH, bias_V, columns, chunk_elements)


def _apply(rule: Callable, hidden_NH, weight_VH, bias_V, columns, chunk_elements: int) -> torch.Tensor:
    dtype = hidden_NH.dtype
    if torch.is_autocast_enabled(hidden_NH.device.type) and dtype != torch.float64:
        dtype = torch.get_autocast_dtype(hidden_NH.device.type)
    if not torch.is_grad_enabled():
        weight_VH, bias_V = weight_VH.detach(), None if bias_V is None else bias_V.detach()
    rows = max(1, chunk_elements // weight_VH.shape[0])
    return _LinearValues.apply(hidden_NH, weight_VH, bias_V, rule, rows, dtype, *columns)


def exact_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 stays; everything else is float32, where sums over a vocabulary are safe."""
    return torch.float64 if dtype == torch.float64 else torch.float32


class _LinearValues(torch.autograd.Function):
    """A value for each row of logits. ``rule``: logits and columns of some rows -> values, and minus their slopes."""

    @staticmethod
    def forward(ctx, hidden_NH, weight_VH, bias_V, rule, rows, dtype, *columns):
        ctx.settings = (rule, rows, dtype)
        ctx.for_hidden, ctx.for_weight, ctx.for_bias = ctx.needs_input_grad[:3]
        trained_head = ctx.for_weight or ctx.for_bias
        with torch.autocast(hidden_NH.device.type, enabled=False):
            w_VH = weight_VH.to(dtype)
            value_N = hidden_NH.new_empty(len(hidden_NH), dtype=exact_dtype(dtype))
            jacobian_NH = torch.empty_like(hidden_NH) if ctx.for_hidden else None
            slope_NV = None
            for part in _parts(len(hidden_NH), rows):
                z_nV = F.linear(hidden_NH[part].to(dtype), w_VH, None if bias_V is None else bias_V.to(dtype))
                value_N[part], slope_nV = rule(
                    z_nV, *(column[part] for column in columns), slope=ctx.for_hidden or trained_head
                )
                if ctx.for_hidden:
                    jacobian_NH[part] = slope_nV.to(dtype) @ w_VH
                if trained_head and len(hidden_NH) <= rows:
                    slope_NV = slope_nV.to(dtype)
                del z_nV, slope_nV  # before the next chunk is there
        ctx.save_for_backward(hidden_NH, weight_VH, bias_V, jacobian_NH, slope_NV, *columns)
        return value_N

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_N):
        hidden_NH, weight_VH, bias_V, jacobian_NH, slope_NV, *columns = ctx.saved_tensors
        grad_hidden = grad_weight = grad_bias = None
        if ctx.for_hidden:
            grad_hidden = jacobian_NH * -grad_N[:, None].to(jacobian_NH.dtype)
        if ctx.for_weight or ctx.for_bias:
            slopes = (
                [(slice(None), slope_NV)]
                if slope_NV is not None
                else _slopes(ctx, hidden_NH, weight_VH, bias_V, columns)
            )
            sums = exact_dtype(hidden_NH.dtype)
            grad_weight = torch.zeros_like(weight_VH, dtype=sums) if ctx.for_weight else None
            grad_bias = torch.zeros_like(bias_V, dtype=sums) if ctx.for_bias else None
            for part, slope_nV in slopes:
                # Rows of hidden states are scaled rather than those of slopes, which are so much longer.
                scale_n1 = -grad_N[part, None].to(slope_nV.dtype)
                if ctx.for_weight:
                    _add_product(grad_weight, slope_nV.mT, hidden_NH[part].to(slope_nV.dtype) * scale_n1)
                if ctx.for_bias:
                    grad_bias.add_((slope_nV.mT @ scale_n1)[:, 0])
                del slope_nV
            grad_weight = grad_weight.to(weight_VH.dtype) if ctx.for_weight else None
            grad_bias = grad_bias.to(bias_V.dtype) if ctx.for_bias else None
        return (grad_hidden, grad_weight, grad_bias, None, None, None, *(None for _ in columns))


def _add_product(sum_VH: torch.Tensor, a_Vn: torch.Tensor, b_nH: torch.Tensor) -> None:
    """Add ``a @ b``, without holding it where the types allow."""
    if a_Vn.dtype == sum_VH.dtype:
        sum_VH.addmm_(a_Vn, b_nH)
    else:
        sum_VH.add_(a_Vn @ b_nH)


def _slopes(ctx, hidden_NH, weight_VH, bias_V, columns) -> Iterator[tuple[slice, torch.Tensor]]:
    """The slopes of the forward pass once more, chunk by chunk."""
    rule, rows, dtype = ctx.settings
    w_VH = weight_VH.to(dtype)
    for part in _parts(len(hidden_NH), rows):
        bias = None if bias_V is None else bias_V.to(dtype)
        z_nV = F.linear(hidden_NH[part].to(dtype), w_VH, bias)
        slope_nV = rule(z_nV, *(column[part] for column in columns), slope=True)[1].to(dtype)
        del z_nV
        yield part, slope_nV
        del slope_nV  # before the next chunk is there


def _value_and_slope(function: Callable, shape: LogitShape, z_nV, *columns, slope: bool):
    """Values of any function of rows of logits, and minus their derivatives by ``z``."""
    with torch.set_grad_enabled(slope):
        z_nV = z_nV.detach().to(exact_dtype(z_nV.dtype)).requires_grad_(slope)
        value_n = function(shape(z_nV), *columns)
        if not slope:
            return value_n, None
        (slope_nV,) = torch.autograd.grad(value_n.sum(), z_nV)
    return value_n.detach(), slope_nV.neg_()


def _logprob_and_slope(z_nV, targets_n, *, shape: LogitShape, smoothing: float, slope: bool):
    """log p of targets, and minus its derivative by ``z``: ``p - q``, times that of ``shape``. May overwrite ``z``."""
    z_nV = z_nV.to(exact_dtype(z_nV.dtype))
    if shape.scale != 1.0:
        z_nV.mul_(shape.scale)
    tanh_slope_nV = None
    if shape.cap is not None:
        z_nV.div_(shape.cap).tanh_()
        tanh_slope_nV = 1 - z_nV.square() if slope else None
        z_nV.mul_(shape.cap)
    logp_nV = torch.log_softmax(z_nV, -1)  # one pass over memory, where logsumexp and its kin take several
    index_n1 = targets_n[:, None]
    value_n = (1 - smoothing) * logp_nV.gather(-1, index_n1).squeeze(-1)
    if smoothing:
        value_n = value_n + smoothing * logp_nV.mean(-1)
    if not slope:
        return value_n, None
    slope_nV = logp_nV.exp_()
    slope_nV.scatter_add_(-1, index_n1, torch.full_like(index_n1, smoothing - 1, dtype=slope_nV.dtype))
    if smoothing:
        slope_nV.sub_(smoothing / slope_nV.shape[-1])
    if tanh_slope_nV is not None:
        slope_nV.mul_(tanh_slope_nV)
    if shape.scale != 1.0:
        slope_nV.mul_(shape.scale)
    return value_n, slope_nV


def _parts(n: int, rows: int) -> Iterator[slice]:
    for start in range(0, n, rows):
        yield slice(start, min(start + rows, n))
