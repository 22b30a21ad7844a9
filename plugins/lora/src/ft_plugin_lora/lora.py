"""LoRA (arXiv:2106.09685) through peft."""

from __future__ import annotations

from typing import Any

import peft
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from ft_plugin_hf.config import HfConfig
from ft_plugin_peft.adapters import trainable_in_float32, with_adapters
from ft_plugin_peft.compat import without_noise
from ft_plugin_peft.config import AdapterConfig
from ft_plugin_trainer.config import TrainerConfig
from ftk.markers import hookimpl
from ftk.problems import RunError
from ftk.run import Run

from .config import LoraConfig
from .fused import fuse
from .targets import choose

KEY_OF = {"r": "lora_rank", "lora_alpha": "lora_alpha", "lora_dropout": "lora_dropout"}


class Lora:
    @hookimpl
    def ftk_lora_kwargs(self, run: Run) -> dict[str, Any]:
        config = run.config[LoraConfig]
        return {"r": config.lora_rank, "lora_alpha": config.alpha, "lora_dropout": config.lora_dropout}

    @hookimpl
    def ftk_adapt_model(self, run: Run, model: PreTrainedModel) -> PreTrainedModel | PeftModel:
        adapted = with_adapters(run, model)
        if run.plan.action != "train":
            return adapted
        kwargs = run.merged("ftk_lora_kwargs", into="LoraConfig", run=run)
        if isinstance(adapted, PeftModel):
            _tell_differences(run, adapted, kwargs)
        else:
            adapted = new_adapter(run, adapted, kwargs)
        precision = run.config[TrainerConfig]
        if not precision.pure_bf16:
            trainable_in_float32(adapted, mixed=precision.bf16 or (precision.fp16 and torch.accelerator.is_available()))
        if _checkpoints_reentrantly(run):
            # Reentrant checkpointing drops the gradients of a block none of whose inputs wants one.
            adapted.enable_input_require_grads()
        if run.config[LoraConfig].lora_fused:
            fuse(adapted)
        trainable, total = adapted.get_nb_trainable_parameters()
        run.logger.info(
            "lora: %s of %s parameters train (%.2f %%)", f"{trainable:,}", f"{total:,}", 100 * trainable / total
        )
        return adapted


def new_adapter(run: Run, model: PreTrainedModel, kwargs: dict[str, Any]) -> PeftModel:
    """The model with a new adapter that changes nothing yet."""
    targets = choose(model, run.config[LoraConfig].lora_target)
    if targets.parameters:
        run.logger.info("lora: experts are adapted too: %s", ", ".join(targets.parameters))
    to_save = additional_modules(run, model)
    config = peft.LoraConfig(
        **{"task_type": "CAUSAL_LM", **kwargs},
        target_modules=targets.modules or None,
        target_parameters=targets.parameters or None,
        modules_to_save=to_save or None,
        # A copy of tied embeddings that trains on its own would leave the head behind.
        ensure_weight_tying=any(_is_tied_embedding(model, name) for name in to_save),
    )
    torch.manual_seed(run.seed)
    try:
        with without_noise():
            return peft.get_peft_model(model, config, autocast_adapter_dtype=not run.config[TrainerConfig].pure_bf16)
    except ValueError as e:
        raise RunError(f"lora cannot adapt this model: {e}", "choose other layers with lora_target") from e


def additional_modules(run: Run, model: PreTrainedModel) -> list[str]:
    """Modules that train in full. Raises RunError for a name that matches nothing."""
    wanted = run.config[AdapterConfig].additional_target
    modules = dict(model.named_modules())
    if wanted is None:
        hf = run.config[HfConfig]
        if not (hf.resize_vocab or hf.add_tokens or hf.add_special_tokens or hf.new_special_tokens_config):
            return []
        ends = (model.get_input_embeddings(), model.get_output_embeddings())
        names = sorted(
            {name.rpartition(".")[2] for name, module in modules.items() if any(module is end for end in ends)}
        )
        run.logger.info("additional_target: %s, because the vocabulary grows", ",".join(names))
        return names
    for name in wanted:
        if not any(path == name or path.endswith(f".{name}") for path in modules):
            there = ", ".join(sorted({path.rpartition(".")[2] for path in modules if path and not path[-1].isdigit()}))
            raise RunError(f"additional_target: {name!r} matches no module of this model", f"it has: {there}")
    return list(wanted)  # peft changes the list it is given


def _checkpoints_reentrantly(run: Run) -> bool:
    kwargs = run.config[TrainerConfig].activation_checkpointing_kwargs or {}
    return run.config[HfConfig].use_reentrant_gc or bool(kwargs.get("use_reentrant"))


def _is_tied_embedding(model: PreTrainedModel, name: str) -> bool:
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or getattr(head, "weight", None) is not embedding.weight:
        return False
    return any(m in (head, embedding) for path, m in model.named_modules() if path == name or path.endswith(f".{name}"))


def _tell_differences(run: Run, model: PeftModel, kwargs: dict[str, Any]) -> None:
    """An adapter that is trained further keeps its own settings; say so where the config asks for others."""
    config = model.peft_config[model.active_adapter]
    for name, value in kwargs.items():
        key = KEY_OF.get(name, name)
        own = getattr(config, name, None)
        if own != value and (key not in KEY_OF.values() or run.config.was_set(key)):
            run.logger.warning("%s=%r is not used: the adapter that is trained further has %r", key, value, own)
    if run.config.was_set("lora_target"):
        own = (
            ", ".join(sorted(config.target_modules or ()))
            if not isinstance(config.target_modules, str)
            else config.target_modules
        )
        run.logger.info("lora_target: the adapter that is trained further adapts %s", own)
