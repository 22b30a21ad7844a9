"""Which layers of a model are adapted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ftk.problems import RunError

HEADS = ("score", "classifier", "v_head")
"""Output heads that transformers does not report as output embeddings: of sequence classification and of values."""


@dataclass(frozen=True)
class Targets:
    """What to adapt, as peft wants it."""

    modules: list[str]
    """Shortest names that mean the chosen layers and no other module."""
    parameters: list[str]
    """The same for stacked expert weights."""


def choose(model: PreTrainedModel, wanted: Sequence[str]) -> Targets:
    """The layers that ``wanted`` names. Raises RunError for a name that matches nothing, listing the names there are.

    A name matches a module, or a weight of three dimensions, whose path ends with it. ``all`` stands for every linear
    layer of the language model but its head.
    """
    layers = {name for name, module in model.named_modules() if is_linear(module) or isinstance(module, nn.Embedding)}
    experts = stacked_weights(model)
    chosen: set[str] = set()
    for name in wanted:
        found = set(linear_layers(model)) if name == "all" else {n for n in layers | experts if _ends(n, name)}
        if not found:
            there = ", ".join(
                sorted({n.rpartition(".")[2] for n in layers} | {".".join(n.split(".")[-2:]) for n in experts})
            )
            raise RunError(
                f"lora_target: {name!r} matches no layer of this model", f"it has: {there}; 'all' is every linear layer"
            )
        chosen |= found
    return Targets(
        shortened(chosen - experts, {name for name, _ in model.named_modules()}, parts=1),
        shortened(chosen & experts, experts, parts=2),
    )


def linear_layers(model: PreTrainedModel) -> list[str]:
    """Every linear layer (``nn.Linear``, quantised ones, GPT-2's ``Conv1D``) but output heads and media encoders.

    The head is found as a module, not by name or weight, since tied heads share the weight of the embeddings. Of a
    model that sees or hears, only the language model counts: its encoders and the projections from them stay frozen.
    """
    head = model.get_output_embeddings()
    sees = any(model.get_encoder(modality) is not model for modality in ("image", "video", "audio"))
    inside = {id(module) for module in (model.get_decoder() if sees else model).modules()}
    return [
        name
        for name, module in model.named_modules()
        if is_linear(module)
        and module is not head
        and id(module) in inside
        and name not in HEADS
        and not name.startswith("v_head.")
    ]


def is_linear(module: nn.Module) -> bool:
    """Quantisation libraries have linear layers of their own, which no common class marks but the name does."""
    return isinstance(module, (nn.Linear, Conv1D)) or ("Linear" in type(module).__name__ and not any(module.children()))


def stacked_weights(model: nn.Module) -> set[str]:
    """Names of weights with one matrix for each expert: transformers 5 keeps the experts of a mixture this way."""
    convolutions = {id(m.weight) for m in model.modules() if isinstance(m, (nn.Conv1d, nn.ConvTranspose1d))}
    return {name for name, p in model.named_parameters() if p.ndim == 3 and id(p) not in convolutions}


def shortened(chosen: set[str], everything: set[str], parts: int) -> list[str]:
    """The last ``parts`` of paths instead of whole paths where they mean the same: ``q_proj`` for each layer's.

    The result is what ``adapter_config.json`` shows and what other programs read.
    """

    def last(name: str) -> str:
        return ".".join(name.split(".")[-parts:])

    ambiguous = {last(name) for name in everything - chosen}
    return sorted({name if last(name) in ambiguous else last(name) for name in chosen})


def _ends(path: str, name: str) -> bool:
    return path == name or path.endswith(f".{name}")
