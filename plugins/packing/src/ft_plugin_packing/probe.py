"""Proof, on the model as it is trained, that documents of a packed batch do not influence each other.

Shape suffixes: B rows, T positions, H hidden size, V vocabulary, N positions of all documents but the changed one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from logging import Logger
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase, TrainerCallback

from ft_plugin_trainer.encoding import NextTokenCollator
from ft_plugin_trainer.logprobs import exact_dtype
from ft_plugin_trainer.modes import evaluating
from ft_plugin_trainer.targets import IGNORE, next_tokens
from ftk.problems import RunError

from .collate import PackedCollator
from .isolation import Isolation
from .sequences import Row, joined

ROWS = ((7, 6, 9), (5, 8))
"""Lengths of the documents of each row: longer than usual convolutions, and the second row ends with padding."""
CHANGED = (0, 7, 13)
"""Row, start and end of the document that is changed. It has one before it, one after it, and a row below."""
TEXT = "Some words, no two of them alike: each stands for another token; which one does not matter."
EXACT = 1e-9
"""Part of the largest gradient that may reach the changed document. Isolated, it is exactly 0."""


class Probe(TrainerCallback):
    """Probes when everything is in place: device, kernels, precision, what several processes need."""

    def __init__(self, isolation: Isolation, logger: Logger) -> None:
        self.isolation, self.logger = isolation, logger

    def on_train_begin(self, args, state, control, model=None, processing_class=None, **kwargs: Any) -> None:
        prove(model, self.isolation, processing_class, half=args.bf16 or args.fp16)
        self.logger.info("packing: changing a document changes no logit and no gradient of another in this model")


def prove(model: nn.Module, isolation: Isolation, tokenizer: PreTrainedTokenizerBase, *, half: bool = False) -> None:
    """Isolate by positions alone, or else by finished masks. Raises RunError where neither does it."""
    if (found := fault(model, tokenizer, half=half)) is None:
        return
    isolation.makes_masks = True
    refusal = RunError(f"packing: documents in one sequence are not isolated: {found}", "set packing: false")
    try:
        if fault(model, tokenizer, half=half) is not None:
            raise refusal
    except Exception as e:  # a model that takes no finished masks may fail in any way; the first finding stands
        raise refusal from (None if e is refusal else e)


def fault(model: nn.Module, tokenizer: PreTrainedTokenizerBase, *, half: bool = False) -> str | None:
    """What is wrong with packed documents in this model, naming the first layer that leaks; ``None``: nothing.

    When one document changes, the logits of the others must stay, and the gradient of their loss by their own
    embeddings too; that by the embeddings of the changed one must be 0. And all must have the logits that they have
    alone, which wrong positions or masks would change.

    half  the model computes in a half precision: where tokens are regrouped, as between experts, sums differ a little
    """
    half = half or any(p.dtype in (torch.bfloat16, torch.float16) for p in model.parameters())
    tolerance = 1e-2 if half else 1e-5
    batches = [_batch(tokenizer, model, changed=changed) for changed in (False, True)]
    changed_BT, others_BT = _places(batches[0]["input_ids"])
    # Checkpointing's older form allows no gradients but of everything.
    with evaluating(model):
        (logits_NV, grad_BTH), (again_NV, grad_again_BTH) = (_measure(model, b, others_BT) for b in batches)
        if (
            _differ(logits_NV, again_NV, tolerance)
            or _differ(grad_BTH[others_BT], grad_again_BTH[others_BT], tolerance)
            or grad_BTH[changed_BT].abs().max() > EXACT * grad_BTH.abs().max()
        ):
            return f"{_first_leak(model, batches, others_BT, tolerance)} lets one influence another"
        # On average: another order of summation can send single tokens to other experts.
        alone_NV = _alone(model, batches[0], tokenizer)
        if (logits_NV - alone_NV).abs().mean() > (5e-2 if half else 1e-3) * alone_NV.abs().mean():
            return f"{type(model).__name__} gives them other logits than alone"
    return None


def _batch(tokenizer: PreTrainedTokenizerBase, model: nn.Module, *, changed: bool) -> dict[str, torch.Tensor]:
    """The rows of ROWS as they are collated for training; ``changed``: no token of one document is the same."""
    pool = list(dict.fromkeys(tokenizer(TEXT, add_special_tokens=False)["input_ids"]))
    if len(pool) < 2:
        pool = list(range(16))  # a vocabulary without these letters
    rows = []
    for lengths in ROWS:
        documents = [[pool[(5 * n + t) % len(pool)] for t in range(length)] for n, length in enumerate(lengths)]
        rows.append(joined([{"input_ids": ids, "labels": ids} for ids in documents]))
    if changed:
        row, start, stop = CHANGED
        ids = rows[row]["input_ids"]
        ids[start:stop] = [pool[(pool.index(token) + 1) % len(pool)] for token in ids[start:stop]]
    return _collated(rows, tokenizer, model)


def _collated(rows: list[Row], tokenizer: PreTrainedTokenizerBase, model: nn.Module) -> dict[str, torch.Tensor]:
    collate = PackedCollator(NextTokenCollator(tokenizer.pad_token_id))
    device = model.get_input_embeddings().weight.device
    return {name: value.to(device) for name, value in collate(rows).items()}


def _places(ids_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks of the changed document, and of the others without padding."""
    changed_BT, others_BT = torch.zeros_like(ids_BT, dtype=torch.bool), torch.zeros_like(ids_BT, dtype=torch.bool)
    for row, lengths in enumerate(ROWS):
        others_BT[row, : sum(lengths)] = True
    row, start, stop = CHANGED
    changed_BT[row, start:stop] = True
    return changed_BT, others_BT & ~changed_BT


def _measure(
    model: nn.Module, batch: Mapping[str, torch.Tensor], others_BT: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of the others, and the gradient of the sum of their losses by all embeddings."""
    inputs, labels_BT = {name: value for name, value in batch.items() if name != "labels"}, batch["labels"]
    embedded: list[torch.Tensor] = []

    def at_embeddings(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[-1]

    handle = model.get_input_embeddings().register_forward_hook(at_embeddings)
    try:
        with torch.enable_grad():
            logits_BTV = _logits(model, inputs)
            targets_BT = next_tokens(labels_BT).masked_fill(~others_BT, IGNORE)
            exact_BTV = logits_BTV.to(exact_dtype(logits_BTV.dtype))
            loss = F.cross_entropy(exact_BTV.flatten(0, 1), targets_BT.flatten(), ignore_index=IGNORE, reduction="sum")
            (grad_BTH,) = torch.autograd.grad(loss, embedded[0])
    finally:
        handle.remove()
    return logits_BTV.detach()[others_BT], grad_BTH


def _logits(model: nn.Module, inputs: Mapping[str, Any]) -> torch.Tensor:
    # Adapters with virtual tokens put theirs in front.
    return model(**inputs).logits[:, -inputs["input_ids"].shape[1] :]


def _alone(model: nn.Module, batch: Mapping[str, torch.Tensor], tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """The logits of the others, each document as a row of its own as in training without packing."""
    documents = []
    for row, lengths in enumerate(ROWS):
        for ids in batch["input_ids"][row, : sum(lengths)].split(lengths):
            documents.append({"input_ids": ids.tolist(), "labels": ids.tolist()})
    del documents[1]  # the changed one
    inputs = _collated(documents, tokenizer, model)
    del inputs["labels"]
    with torch.no_grad():
        return _logits(model, {**inputs, "use_cache": False})[inputs["attention_mask"] == 1]


@dataclass(frozen=True, slots=True)
class _Call:
    """What a module was given and what it gave, at the positions of the others."""

    name: str
    given_NX: torch.Tensor | None
    made_NX: torch.Tensor


def _first_leak(
    model: nn.Module, batches: list[dict[str, torch.Tensor]], others_BT: torch.Tensor, tolerance: float
) -> str:
    """The innermost module that is first to make different values of equal ones."""
    one, other = (_calls(model, batch, others_BT) for batch in batches)
    pairs = {a.name: (a, b) for a, b in reversed(list(zip(one, other, strict=True)))}
    name = next((a.name for a, b in zip(one, other, strict=True) if _differ(a.made_NX, b.made_NX, tolerance)), None)
    if name is None:
        return "the backward pass of some layer"
    while name:
        a, b = pairs.get(name, (None, None))
        if a is not None and a.given_NX is not None and not _differ(a.given_NX, b.given_NX, tolerance):
            break
        name = name.rpartition(".")[0]  # it was given different values: what lies around it mixes them
    return f"{name} ({type(model.get_submodule(name)).__name__})" if name else type(model).__name__


def _calls(model: nn.Module, batch: Mapping[str, torch.Tensor], others_BT: torch.Tensor) -> list[_Call]:
    """The calls of all modules that see every position, in the order in which they end."""
    calls: list[_Call] = []

    def positions_of(values: Any) -> torch.Tensor | None:
        tensors = (v for v in values if isinstance(v, torch.Tensor) and v.shape[:2] == others_BT.shape)
        found = next(tensors, None)
        return None if found is None else found.detach()[others_BT]

    def note(name: str):
        def hook(module: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> None:
            made_NX = positions_of(output if isinstance(output, (tuple, list)) else [output])
            if made_NX is not None:
                calls.append(_Call(name, positions_of([*args, *kwargs.values()]), made_NX))

        return hook

    handles = [m.register_forward_hook(note(name), with_kwargs=True) for name, m in model.named_modules()]
    try:
        with torch.no_grad():
            model(**{name: value for name, value in batch.items() if name != "labels"})
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _differ(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> bool:
    """By more than a part of the largest value."""
    a, b = (x.to(exact_dtype(x.dtype)) for x in (a, b))
    return bool((a - b).abs().max() > tolerance * a.abs().max())
