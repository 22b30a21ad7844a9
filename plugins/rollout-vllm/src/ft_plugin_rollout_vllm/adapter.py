"""The adapter that is being trained, as files that vLLM reads."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from peft import LoraConfig, PeftModel, PeftType
from torch import nn
from torch.distributed.tensor import DTensor

from ftk.problems import RunError
from ftk.run import Run

from .config import RolloutVllmConfig

OTHER_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Beginnings of ``init_lora_weights`` that change the frozen weights too."""


def folder_of(run: Run) -> Path:
    """Absolute, as a server has another working directory."""
    given = run.config[RolloutVllmConfig].rollout_vllm_adapter_dir
    return (Path(given).expanduser() if given else run.output_dir / "vllm").resolve()


@contextlib.contextmanager
def saved(policy: PeftModel, folder: Path, *, step: int) -> Iterator[tuple[str, Path]]:
    """The active adapter on disk, by a name and in a folder that no other has; removed at the end.

    vLLM keeps what it computed of prompts by the adapter's name: a name that comes again would mean old weights.
    Raises RunError where it cannot be written.
    """
    adapter = policy.active_adapters[0]
    name = f"ftk-{uuid.uuid4().hex[:12]}-{step}"
    path = folder / name
    try:
        try:
            # Whether embeddings were resized is looked up at a hub, and a LoRA adapter has none.
            policy.save_pretrained(str(path), selected_adapters=[adapter], save_embedding_layers=False)
        except OSError as e:
            hint = "set rollout_vllm_adapter_dir to a folder that can be written"
            raise RunError(f"the adapter cannot be written to {str(folder)!r}: {e}", hint) from e
        yield name, path if adapter == "default" else path / adapter
    finally:
        shutil.rmtree(path, ignore_errors=True)


def checked(model: nn.Module) -> PeftModel:
    """The model. Raises RunError where vLLM could not apply its active adapter, or not to the weights that it has."""
    if not isinstance(model, PeftModel) or len(model.active_adapters) != 1:
        raise RunError("vLLM can be handed one LoRA adapter, and the model has none", "set finetuning_type: lora")
    if any(isinstance(p, DTensor) or hasattr(p, "ds_id") for p in model.parameters()):
        message = "the weights are sharded over processes, and vLLM is handed whole adapters only"
        raise RunError(message, "train without sharding, or unset rollouts_engine")
    config = model.peft_config[model.active_adapters[0]]
    unfit = [
        (config.peft_type != PeftType.LORA, f"it is of type {getattr(config.peft_type, 'value', config.peft_type)}"),
        (getattr(config, "use_dora", False), "it has the magnitudes of DoRA"),
        (getattr(config, "modules_to_save", None), "it has whole modules beside it"),
        (getattr(config, "trainable_token_indices", None), "it has embeddings of tokens beside it"),
        (
            str(getattr(config, "init_lora_weights", "")).lower().startswith(OTHER_BASE),
            "it was begun by changing the frozen weights, which vLLM has as they were",
        ),
    ]
    if why := [text for bad, text in unfit if bad]:
        raise RunError(f"vLLM cannot be handed this adapter: {why[0]}", "train a plain LoRA, or unset rollouts_engine")
    return model


def rank_of(policy: PeftModel) -> int:
    """The largest rank in the active adapter."""
    config = cast(LoraConfig, policy.peft_config[policy.active_adapters[0]])
    return max([config.r, *(config.rank_pattern or {}).values()])
