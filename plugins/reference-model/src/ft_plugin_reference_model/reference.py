"""The model that a policy is compared with. Read ``reference_for`` first.

A policy's starting point needs no second model: an adapter that began as nothing is switched off, and of everything
else the weights that train, as they were, take their places for as long as the reference computes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import AutoTokenizer

from ft_plugin_peft.adapters import load_adapter
from ft_plugin_peft.config import AdapterConfig
from ft_plugin_peft.merging import merged
from ft_plugin_trainer.config import TrainerConfig
from ft_plugin_trainer.modes import evaluating
from ft_plugin_trainer.targets import unwrapped
from ftk.problems import RunError

from .config import ReferenceModelConfig

if TYPE_CHECKING:
    from ftk.run import Run

PROBE = 16
"""Tokens of the sequence that tells whether an adapter changes anything yet."""


def reference_for(run: Run, model: nn.Module) -> Reference:
    """The reference of a policy that has not been trained yet. Raises RunError where it does not fit the policy.

    model  what ``run.adapt_model`` returned. Of a run that is resumed too, as its weights are loaded later
    """
    if run.config[ReferenceModelConfig].is_separate or _is_sharded(model):
        return SeparateModel(_load(run, model), autocast=mixed_precision(run))
    if isinstance(model, PeftModel) and not _continues(run) and _begins_as_nothing(model):
        run.logger.info("reference: the policy without its adapter")
        return WithoutAdapter()
    kept = StartingWeights(model)
    size = sum(p.numel() for p in kept.weights.values())
    run.logger.info("reference: the policy with the %s weights that train as they are now", f"{size:,}")
    return kept


class Reference:
    """What the policy was, or another model."""

    @contextlib.contextmanager
    def active(self, policy: nn.Module) -> Iterator[nn.Module]:
        """A module that computes with the reference's weights, without dropout and gradients; then the policy is back.

        policy  the model given to ``reference_for``, or a wrapper for several processes around it
        """
        inner = unwrapped(policy)
        with torch.no_grad(), self._module(inner) as module, evaluating(module):
            yield module

    def _module(self, policy: nn.Module) -> contextlib.AbstractContextManager[nn.Module]:
        raise NotImplementedError


class WithoutAdapter(Reference):
    """The policy with its adapter switched off."""

    @contextlib.contextmanager
    def _module(self, policy: nn.Module) -> Iterator[nn.Module]:
        with _switched_off(policy):
            yield policy


class StartingWeights(Reference):
    """The policy with copies of the weights that train, taken before they did."""

    def __init__(self, model: nn.Module) -> None:
        self.weights = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}

    @contextlib.contextmanager
    def _module(self, policy: nn.Module) -> Iterator[nn.Module]:
        parameters = dict(policy.named_parameters())
        if any(parameters.get(name) is None or parameters[name].shape != w.shape for name, w in self.weights.items()):
            message = "the policy's weights are split between processes, so that its starting point cannot be put back"
            raise RunError(message, "set ref_model: its own copy of the model stays whole")
        trained = {name: parameters[name].data for name in self.weights}
        self.weights = {name: w.to(trained[name]) for name, w in self.weights.items()}
        try:
            _put(self.weights, parameters)
            yield policy
        finally:
            _put(trained, parameters)


def _put(weights: Mapping[str, torch.Tensor], parameters: Mapping[str, nn.Parameter]) -> None:
    for name, weight in weights.items():
        parameters[name].data = weight
    torch.clear_autocast_cache()  # it knows parameters, not what they hold


class SeparateModel(Reference):
    """A model of its own.

    autocast  the type of mixed precision, which the trainer arranges for the policy alone
    """

    def __init__(self, model: nn.Module, *, autocast: torch.dtype | None = None) -> None:
        self.model, self.autocast = model.requires_grad_(False), autocast

    @contextlib.contextmanager
    def _module(self, policy: nn.Module) -> Iterator[nn.Module]:
        device = next(policy.parameters()).device
        if next(self.model.parameters()).device != device and not _is_placed(self.model):
            self.model.to(device)
        with torch.autocast(device.type, self.autocast) if self.autocast else contextlib.nullcontext():
            yield self.model


def mixed_precision(run: Run) -> torch.dtype | None:
    """The type that the trainer lets the policy compute in, if it is not that of its weights."""
    config = run.config[TrainerConfig]
    if config.pure_bf16 or not (config.bf16 or config.fp16):
        return None
    return torch.bfloat16 if config.bf16 else torch.float16


def _load(run: Run, policy: nn.Module) -> nn.Module:
    config = run.config[ReferenceModelConfig]
    model = run.load_model("reference")
    names = config.ref_model_adapters or []
    for name in names[:-1]:
        model = merged(load_adapter(run, model, name))
    for name in names[-1:]:
        model = load_adapter(run, model, name)
    if config.ref_model:
        require_same_vocabulary(run, config.ref_model, vocabulary_size(policy), vocabulary_size(model))
    run.logger.info("reference: %s", config.ref_model or "the starting weights, loaded once more")
    return model


def require_same_vocabulary(run: Run, name: str, policy: int, reference: int, *, key: str = "ref_model") -> None:
    """Log-probabilities of tokens can be compared only where both models mean the same by each id.

    Raises RunError, about the key that names the other model. Of models whose tokenizers agree,
    one may have more rows of padding in its embeddings.
    """
    hint = f"choose a {key} of the policy's family"
    location = run.locate_model(name)
    try:
        theirs: Mapping[str, int] = AutoTokenizer.from_pretrained(location.path, revision=location.revision).get_vocab()
    except (OSError, ValueError):  # a folder without one: then the sizes must do
        if policy != reference:
            message = f"{key}: {name!r} has embeddings for {reference} tokens, the policy for {policy}"
            raise RunError(message, hint) from None
        return
    ours: Mapping[str, int] = run.load_tokenizer().get_vocab()
    small, large = sorted((ours, theirs), key=len)
    other = sum(large.get(token) != index for token, index in small.items())
    if other:
        message = f"{key}: {name!r} has another vocabulary than the policy: {other} of {len(small)} tokens differ"
        raise RunError(message, hint)


def vocabulary_size(model: Any) -> int:
    return model.get_input_embeddings().weight.shape[0]


def _continues(run: Run) -> bool:
    """Whether an adapter is trained further, which may as yet have changed the model by less than can be measured."""
    config = run.config[AdapterConfig]
    return bool(config.adapter_name_or_path) and not config.create_new_adapter


def _begins_as_nothing(model: PeftModel) -> bool:
    """Whether the policy without its adapter is what it is with it, and nothing but the adapter trains.

    Measured, not read from a config: where an adapter took its first values out of the weights (PiSSA), these are not
    what they were.
    """
    if model.active_peft_config.is_prompt_learning:
        return False
    ids = torch.arange(1, PROBE + 1, device=model.get_input_embeddings().weight.device)[None] % vocabulary_size(model)
    with torch.no_grad(), evaluating(model):
        adapted = model(input_ids=ids, use_cache=False).logits
        with _switched_off(model):
            if any(p.requires_grad for p in model.parameters()):
                return False
            plain = model(input_ids=ids, use_cache=False).logits
    tolerance = 1e-2 if adapted.dtype in (torch.bfloat16, torch.float16) else 1e-4
    return bool((adapted - plain).abs().max() <= tolerance * plain.abs().max())


@contextlib.contextmanager
def _switched_off(model: Any) -> Iterator[None]:
    """peft's own context manager also turns on gradients of parts of an adapter that do not train."""
    trains = {p: p.requires_grad for p in model.parameters()}
    model.base_model.disable_adapter_layers()
    try:
        yield
    finally:
        model.base_model.enable_adapter_layers()
        for parameter, requires_grad in trains.items():
            parameter.requires_grad_(requires_grad)


def _is_sharded(model: nn.Module) -> bool:
    return any(isinstance(p, DTensor) or hasattr(p, "ds_id") for p in model.parameters())


def _is_placed(model: nn.Module) -> bool:
    """Whether its weights are where a device map or a quantiser put them."""
    return hasattr(model, "hf_device_map") or getattr(model, "is_quantized", False)
