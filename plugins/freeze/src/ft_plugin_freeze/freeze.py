"""Some layers train, the others stay as they are."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel

from ft_plugin_full.full import prepare
from ftk.markers import hookimpl
from ftk.problems import RunError
from ftk.run import Run

from .config import FreezeConfig


class Freeze:
    @hookimpl
    def ftk_adapt_model(self, run: Run, model: PreTrainedModel) -> PreTrainedModel:
        if run.plan.action == "train":
            config = run.config[FreezeConfig]
            chosen = trainable_names(
                model,
                config.freeze_trainable_layers,
                config.freeze_trainable_modules,
                config.freeze_extra_modules or (),
            )
            model.requires_grad_(False)
            # Tied weights have two names, and train if either is chosen.
            for name, parameter in model.named_parameters(remove_duplicate=False):
                if name in chosen:
                    parameter.requires_grad_(True)
            prepare(run, model)
        return model


def trainable_names(model: PreTrainedModel, layers: int, modules: Sequence[str], extra: Sequence[str]) -> set[str]:
    """Names of the parameters that train.

    layers   how many layers: the last ones, the first ones when negative
    modules  parts of each of those layers, or ``all``
    extra    parts outside all layers, or ``all``
    Raises RunError for a name or a number that the model does not have, saying what it has.
    """
    prefix, stack = layer_stack(model)
    if abs(layers) > len(stack):
        raise RunError(f"freeze_trainable_layers={layers}, but the model has {len(stack)} layers", "name fewer layers")
    indices = range(len(stack) - layers, len(stack)) if layers > 0 else range(-layers)
    parts = sorted(
        {name for layer in stack for name, module in layer.named_children() if any(True for _ in module.parameters())}
    )
    _require("freeze_trainable_modules", modules, parts)
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    outside = [name for name in names if not name.startswith(f"{prefix}.")]
    _require("freeze_extra_modules", extra, sorted({name.split(".")[-2] for name in outside if "." in name}))
    inside = [f"{prefix}.{i}." if part == "all" else f"{prefix}.{i}.{part}." for i in indices for part in modules]
    chosen = {name for name in names if name.startswith(tuple(inside))}
    return chosen | {name for name in outside if "all" in extra or set(name.split(".")[:-1]) & set(extra)}


def layer_stack(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """The path and the list of the language model's layers. Raises RunError when there is no such list."""
    count = model.config.get_text_config(decoder=True).num_hidden_layers
    inside = {id(module) for module in model.get_decoder().modules()}
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count and id(module) in inside:
            return name, module
    hint = "use finetuning_type: full or lora"
    raise RunError(f"finetuning_type: freeze finds no list of {count} layers in {type(model).__name__}", hint)


def _require(key: str, wanted: Sequence[str], there: Sequence[str]) -> None:
    for name in wanted:
        if name != "all" and name not in there:
            raise RunError(f"{key}: {name!r} is not a part of this model", f"it has: {', '.join(there)}, all")
