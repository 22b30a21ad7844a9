"""Adapters that are there already: found, loaded, continued, merged."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from peft.utils import ModulesToSaveWrapper
from transformers import PreTrainedModel

from ft_plugin_hf.config import HfConfig
from ftk.problems import RunError
from ftk.run import Run

from .checks import FILE, is_local
from .compat import without_noise
from .config import AdapterConfig
from .merging import merged


def with_adapters(run: Run, model: PreTrainedModel) -> PreTrainedModel | PeftModel:
    """The model with the adapters that the config names.

    All but the last are merged. The last stays attached, trainable in a training run; with ``create_new_adapter`` it is
    merged too, and the caller adds the new one. In chat and export, a run that names no adapter uses its own result.
    """
    config = run.config[AdapterConfig]
    training = run.plan.action == "train"
    names = list(config.adapter_name_or_path or ()) or ([] if training else _own_result(run))
    stays = 0 if training and config.create_new_adapter else 1
    for i, name in enumerate(names, start=1):
        attached = load_adapter(run, model, name, trainable=training)
        if i > len(names) - stays:
            run.logger.info("adapter: %s", name)
            return attached
        run.logger.info("merging adapter %s", name)
        model = merged(attached)
    return model


def load_adapter(run: Run, model: PreTrainedModel, name: str, *, trainable: bool = False) -> PeftModel:
    """The model with one adapter attached, its weights in float32.

    Raises RunError when it is not there or does not fit.
    """
    source = _source(run, name)
    name = str(Path(name).expanduser()) if is_local(name) else name
    try:
        config = PeftConfig.from_pretrained(name, **source)
    except (ValueError, TypeError, KeyError, OSError) as e:
        raise RunError(
            f"cannot read the adapter {name!r}: {_brief(e)}", "give the folder or hub id of an adapter of peft"
        ) from e
    try:
        with without_noise():
            # peft only warns when weights of the adapter are not in its file, and goes on with untrained ones.
            warnings.filterwarnings("error", message="Found missing adapter keys")
            return PeftModel.from_pretrained(model, name, config=config, is_trainable=trainable, **source)
    except (UserWarning, ValueError, OSError, RuntimeError) as e:
        if isinstance(e, RuntimeError) and "size mismatch" not in str(e):
            raise
        hint = f"it was trained on {config.base_model_name_or_path or 'an unknown model'}"
        raise RunError(f"the adapter {name!r} does not fit the model: {_brief(e)}", hint) from e


def trainable_in_float32(model: PeftModel, *, mixed: bool) -> None:
    """Hold what trains in float32: a step of AdamW is often smaller than half precision resolves.

    mixed  whether the trainer computes in mixed precision. Without it nothing translates between modules that train in
           full, in float32, and a frozen model of another type, so that the model becomes float32 too
    """
    whole = not mixed and any(isinstance(module, ModulesToSaveWrapper) for module in model.modules())
    for parameter in model.parameters():
        if (parameter.requires_grad or whole) and parameter.dtype in (torch.float16, torch.bfloat16):
            parameter.data = parameter.data.float()


def _source(run: Run, name: str) -> dict[str, Any]:
    """Where peft looks, beside the name."""
    folder = run.config[AdapterConfig].adapter_folder
    source: dict[str, Any] = {"subfolder": folder} if folder else {}
    if is_local(name):
        if not (path := Path(name).expanduser() / (folder or "")).joinpath(FILE).is_file():
            raise RunError(
                f"no adapter at {str(path)!r}: it holds no {FILE}", "train it first, or correct adapter_name_or_path"
            )
        return source
    hub = run.config[HfConfig]
    return source | {"token": hub.hf_hub_token, "cache_dir": hub.cache_dir}


def _own_result(run: Run) -> list[str]:
    if not run.config.was_set("output_dir"):
        return []
    if (run.output_dir / FILE).is_file():
        return [str(run.output_dir)]
    run.logger.warning("output_dir %s holds no trained adapter; the base model is used as it is", run.output_dir)
    return []


def _brief(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] if lines else type(error).__name__
