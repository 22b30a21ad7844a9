"""A causal model's log-probabilities of chosen tokens: the primitive of every stage.

The model's own forward stays in charge (adapters, wrappers for several processes, autocast, scaled and capped logits):
a hook in front of its output head takes the hidden states of target positions there, and lets one position through.

Shape suffixes: N targets, H hidden size, V vocabulary, B rows, T positions.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .logprobs import CHUNK_ELEMENTS, LogitShape, exact_dtype, gather_logprobs, linear_logprobs, linear_values

IGNORE = -100
"""Where no token is a target, as everywhere in transformers."""
PLAIN = {"input_ids", "attention_mask", "position_ids", "use_cache"}
"""Inputs that tell a model nothing but tokens, and which of them see each other."""
PROBED = 8
"""Tokens of such inputs that show what a model does with its logits."""


@dataclass(frozen=True, slots=True)
class TargetScores:
    """One entry for each target, in row order: the i-th belongs to the i-th true entry of ``targets_BT != IGNORE``."""

    logprobs_N: torch.Tensor
    """In float32 or better. With label smoothing, the smoothed values of ``gather_logprobs``. Or what was asked for."""
    predicted_N: torch.Tensor | None
    """The most likely token there, where it was asked for."""
    outputs: Any = None
    """What the model returned. Its ``logits`` are of no use."""


class TargetLogprobs:
    """Computes log-probabilities of targets with any causal model of transformers."""

    def __init__(self, *, label_smoothing: float = 0.0, chunk_elements: int = CHUNK_ELEMENTS) -> None:
        self.label_smoothing = label_smoothing
        self.chunk_elements = chunk_elements
        self._shapes: weakref.WeakKeyDictionary[nn.Module, LogitShape | None] = weakref.WeakKeyDictionary()

    def __call__(
        self, model: nn.Module, inputs: Mapping[str, Any], targets_BT: torch.Tensor, *, predict: bool = False
    ) -> TargetScores:
        """Run ``model(**inputs)`` for the log-probabilities of ``targets_BT``.

        targets_BT  the token that position t shall predict, so labels moved left by one; ``IGNORE`` where there is none
        predict     also find the most likely token of each of these positions
        """
        return self._run(model, inputs, targets_BT, None, (), predict)

    def values(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        targets_BT: torch.Tensor,
        function: Callable[..., torch.Tensor],
        columns: Sequence[torch.Tensor] = (),
        *,
        predict: bool = False,
    ) -> TargetScores:
        """The same with a value of any function of a target's logits in place of its log-probability.

        function  logits (n, V) in float32 or better, targets (n), and n rows of each of ``columns`` -> n values. It is
                  called with some targets at a time, and perhaps twice with each
        """
        return self._run(model, inputs, targets_BT, function, columns, predict)

    def hidden(
        self, model: nn.Module, inputs: Mapping[str, Any], targets_BT: torch.Tensor
    ) -> tuple[torch.Tensor, Callable[[nn.Module, torch.Tensor], torch.Tensor]]:
        """The hidden states at targets (N, H), and what makes logits (n, V) of some of them, given the model again.

        Where only the model's own forward pass can make logits, they are what is returned in place of hidden states.
        """
        head, shape = self._head(model, inputs)
        mask_BT = targets_BT != IGNORE
        seen: list[torch.Tensor] = []
        device = targets_BT.device.type
        autocast = {"enabled": torch.is_autocast_enabled(device), "dtype": torch.get_autocast_dtype(device)}

        def at_head(module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
            seen.append(_targets_of(args[0], mask_BT))
            return (seen[0][None],) if shape is None else (args[0][:1, :0],)

        with _hooked(head, at_head):
            outputs = model(**inputs)
        if not seen:
            return _targets_of(outputs.logits, mask_BT), lambda again, logits_nV: logits_nV
        if shape is None:
            return outputs.logits[0], lambda again, logits_nV: logits_nV

        def logits_of(again: nn.Module, hidden_nH: torch.Tensor) -> torch.Tensor:
            with torch.autocast(device, **autocast):
                return shape(unwrapped(again).get_output_embeddings().forward(hidden_nH))

        return seen[0], logits_of

    def _head(self, model: nn.Module, inputs: Mapping[str, Any]) -> tuple[nn.Module, LogitShape | None]:
        head = unwrapped(model).get_output_embeddings()
        if head not in self._shapes:
            self._shapes[head] = self._probe(model, head, inputs)
        return head, self._shapes[head]

    def _run(
        self, model: nn.Module, inputs: Mapping[str, Any], targets_BT: torch.Tensor, function, columns, predict: bool
    ) -> TargetScores:
        head, shape = self._head(model, inputs)
        mask_BT = targets_BT != IGNORE
        targets_N = targets_BT[mask_BT]
        scores: list[TargetScores] = []
        reduced = []

        def at_head(module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
            hidden_NH = _targets_of(args[0], mask_BT)
            reduced.append(True)
            if shape is None:
                return (hidden_NH[None],)
            values_N = self._values(module, hidden_NH, targets_N, shape, function, columns)
            scores.append(TargetScores(values_N, self._predicted(module, hidden_NH, shape) if predict else None))
            return (args[0][:1, :0],)  # the head still runs, on nothing: the model's code behind it wants logits

        with _hooked(head, at_head):
            outputs = model(**inputs)
        if scores:
            return TargetScores(scores[0].logprobs_N, scores[0].predicted_N, outputs)
        logits_NV = outputs.logits[0] if reduced else _targets_of(outputs.logits, mask_BT)
        values_N = self._of_logits(function)(logits_NV, targets_N, *columns)
        return TargetScores(values_N, logits_NV.argmax(-1) if predict else None, outputs)

    def _of_logits(self, function: Callable | None) -> Callable[..., torch.Tensor]:
        if function is None:
            return lambda logits_NV, targets_N: gather_logprobs(
                logits_NV, targets_N, label_smoothing=self.label_smoothing
            )
        return lambda logits_NV, *columns_N: function(logits_NV.to(exact_dtype(logits_NV.dtype)), *columns_N)

    def _values(self, head: nn.Module, hidden_NH: torch.Tensor, targets_N, shape: LogitShape, function, columns):
        """The same as from whole logits, but never holding more than a chunk of them."""
        if _is_plain_linear(head):
            settings = {"bias_V": head.bias, "shape": shape, "chunk_elements": self.chunk_elements}
            if function is None:
                smoothing = self.label_smoothing
                return linear_logprobs(hidden_NH, head.weight, targets_N, label_smoothing=smoothing, **settings)
            return linear_values(function, hidden_NH, head.weight, (targets_N, *columns), **settings)
        # An adapted or quantised head: its own forward pass, once more in the backward pass.
        of_logits = self._of_logits(function)

        def part_values(hidden_nH: torch.Tensor, *columns_n: torch.Tensor) -> torch.Tensor:
            return of_logits(shape(head.forward(hidden_nH)), *columns_n)

        rows = self._rows(head)
        parts = zip(*(column.split(rows) for column in (hidden_NH, targets_N, *columns)), strict=True)
        return torch.cat([checkpoint(part_values, *part, use_reentrant=False) for part in parts])

    @torch.no_grad()
    def _predicted(self, head: nn.Module, hidden_NH: torch.Tensor, shape: LogitShape) -> torch.Tensor:
        return torch.cat([shape(head.forward(part)).argmax(-1) for part in hidden_NH.split(self._rows(head))])

    def _rows(self, head: nn.Module) -> int:
        return max(1, self.chunk_elements // head.weight.shape[0])

    def _probe(self, model: nn.Module, head: nn.Module, inputs: Mapping[str, Any]) -> LogitShape | None:
        """What the model does to its head's product; None where that is more than a scale and a cap, or cannot be seen.

        Not taken on trust from the config: one forward pass on the first batch, or where that is enough on a few of its
        tokens, compares the model's own logits of one position with ours. Random states are put back, so that a resumed
        run, which probes again, draws alike.
        """
        if isinstance(head.weight, DTensor) or hasattr(head.weight, "ds_id"):
            return None  # whole only while its own forward pass runs
        shape = logit_shape(unwrapped(model).config)
        if inputs.keys() <= PLAIN and not head._forward_pre_hooks:  # they may expect the batch as it is
            settings = {name: value for name, value in inputs.items() if name == "use_cache"}
            inputs = {"input_ids": inputs["input_ids"][:1, :PROBED], **settings}
        seen: list[torch.Tensor] = []

        def at_head(module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
            seen.append(shape(module.forward(args[0][:1, -1:])))
            return (args[0][:1, -1:],)

        with torch.no_grad(), torch.random.fork_rng(), _hooked(head, at_head):
            logits = model(**inputs).logits
        if len(seen) != 1 or seen[0].shape != logits.shape:
            return None
        ours, theirs = seen[0].float(), logits.float()
        tolerance = 1e-2 if seen[0].dtype in (torch.bfloat16, torch.float16) else 1e-4
        return shape if (ours - theirs).abs().max() <= tolerance * theirs.abs().max() else None


def logit_shape(config: Any) -> LogitShape:
    """How a model config of transformers says that logits are scaled and capped."""
    config = config.get_text_config()
    scale = 1.0
    for name in ("logit_scale", "lm_head_multiplier"):  # Cohere; Falcon-H1
        scale *= getattr(config, name, None) or 1.0
    scale /= getattr(config, "logits_scaling", None) or 1.0  # Granite
    return LogitShape(scale, getattr(config, "final_logit_softcapping", None))  # Gemma


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside the wrappers of several processes and of ``torch.compile``."""
    while True:
        inner = getattr(model, "_orig_mod", None) or getattr(model, "module", None)
        if inner is None:
            return model
        model = inner


def next_tokens(labels_BT: torch.Tensor) -> torch.Tensor:
    """Labels moved left by one (B, T): the token that each position shall predict."""
    return F.pad(labels_BT[:, 1:], (0, 1), value=IGNORE)


def sum_by_row(values_N: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """The sums of target values over each row, of shape B."""
    row_N = mask_BT.nonzero()[:, 0]
    return values_N.new_zeros(len(mask_BT)).index_add(0, row_N, values_N)


def _targets_of(values_BTX: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    # Adapters with virtual tokens put theirs in front.
    return values_BTX[:, -mask_BT.shape[1] :][mask_BT]


def _is_plain_linear(head: nn.Module) -> bool:
    """Whether ``head(x)`` is ``x @ weight.T + bias`` and nothing else: neither a subclass nor patched."""
    return type(head) is nn.Linear and "forward" not in vars(head) and not head._forward_hooks


@contextlib.contextmanager
def _hooked(module: nn.Module, hook: Callable) -> Iterator[None]:
    handle = module.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()
