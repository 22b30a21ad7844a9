"""The merged model, as a folder that transformers and everything built on it loads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ft_plugin_hf.config import HfConfig, HfInferenceConfig
from ft_plugin_peft.config import AdapterConfig
from ft_plugin_peft.merging import merged
from ftk import __version__
from ftk.contracts import Artifact, Template
from ftk.markers import hookimpl
from ftk.problems import RunError
from ftk.run import Run
from ftk.settings import RunConfig

from .config import MergeConfig
from .folder import mark, obstacle, replacing
from .hub import upload
from .plugin import sources
from .probe import Gap, compare, probe_logits, require_finite, require_room


class Merge:
    @hookimpl
    def ftk_export(
        self, run: Run, model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase
    ) -> Artifact | None:
        if int(os.environ.get("RANK", "0")):
            return None  # one process writes for all
        config = run.config[MergeConfig]
        target = Path(str(config.export_dir)).expanduser()
        if found := obstacle(target, sources(run.plan), overwrite=run.config[RunConfig].overwrite_output_dir):
            raise RunError(*found)
        if config.export_device == "auto" and torch.accelerator.is_available():
            model = model.to(torch.accelerator.current_accelerator())
        dtype = export_dtype(run, model)
        require_room(model, config.export_size, dtype.itemsize)
        run.logger.info("exporting to %s in %s", target, _name(dtype))
        adapted = isinstance(model, PeftModel)
        plain, gap = merged_and_checked(model, dtype, min(len(tokenizer), model.get_input_embeddings().weight.shape[0]))
        template = run.load_template(tokenizer)
        if run.plan.action == "train":
            plain.config.use_cache = True  # the trainer had turned it off
        _stop_at(plain, tokenizer, template)
        text = "" if config.export_without_template else template.jinja
        facts = {
            "ftk": __version__,
            "model": run.config[HfConfig].model_name_or_path,
            "adapters": run.config[AdapterConfig].adapter_name_or_path or ([str(run.output_dir)] if adapted else []),
            "dtype": _name(dtype),
            "logits_gap": gap and gap.relative,
        }
        with replacing(target) as folder:
            write(folder, plain, tokenizer, template=text, shard_bytes=config.export_size * 10**9)
            mark(folder, facts)
        check = f"merged logits within {gap.percent} of the unmerged" if gap else "no adapter to merge"
        summary = f"{type(plain).__name__} in {_name(dtype)}; {check}"
        if config.export_hub_model_id:
            address = upload(target, config.export_hub_model_id, run.config[HfConfig].hf_hub_token)
            summary += f"; uploaded to {address}"
        return Artifact(kind="model", path=target, summary=summary)


def export_dtype(run: Run, model: PreTrainedModel | PeftModel) -> torch.dtype:
    """What ``infer_dtype`` says, else ``model_dtype``, else the type that the model is held in."""
    names = (run.config[HfInferenceConfig].infer_dtype, run.config[HfConfig].model_dtype)
    wanted = next((name for name in names if name != "auto"), None)
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    return getattr(torch, wanted) if wanted else base.dtype


def merged_and_checked(
    model: PreTrainedModel | PeftModel, dtype: torch.dtype, vocabulary: int
) -> tuple[PreTrainedModel, Gap | None]:
    """The model without wrappers in ``dtype``, and how far its logits are from those before; in place.

    Raises RunError when the adapter cannot be merged, a weight is not finite, or the logits are further apart than
    rounding explains.
    """
    if not isinstance(model, PeftModel):
        plain, before, held = model, None, model.dtype
    else:
        held = model.get_base_model().dtype
        before = probe_logits(model, vocabulary)
        plain = merged(model, dtype)
    for parameter in plain.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
    require_finite(plain)
    if before is None:
        return plain, None
    return plain, compare(before, probe_logits(plain, vocabulary), held, dtype)


def write(
    folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, template: str, shard_bytes: int
) -> None:
    """Weights in files of at most ``shard_bytes``, and the tokenizer with this chat template or, where empty, none.

    Raises RunError when the disk refuses.
    """
    with explained(), _set_for_export(tokenizer, template):
        model.save_pretrained(folder, max_shard_size=shard_bytes)
        tokenizer.save_pretrained(folder)


@contextmanager
def _set_for_export(tokenizer: PreTrainedTokenizerBase, template: str) -> Iterator[None]:
    """The template in place, and padding on the left as generation in batches needs it; put back afterwards."""
    kept = tokenizer.chat_template, tokenizer.padding_side, tokenizer.init_kwargs
    tokenizer.chat_template, tokenizer.padding_side = template or None, "left"
    tokenizer.init_kwargs = {**tokenizer.init_kwargs, "padding_side": "left"}  # only what is named here is saved
    try:
        yield
    finally:
        tokenizer.chat_template, tokenizer.padding_side, tokenizer.init_kwargs = kept


def _stop_at(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, template: Template) -> None:
    """Let whatever loads the model stop where the template's turns end."""
    if (generation := model.generation_config) is None:
        return
    own = generation.eos_token_id
    stops = [tokenizer.convert_tokens_to_ids(stop) for stop in template.stop]
    ids = [*(own if isinstance(own, list) else [own]), *stops]
    known = list(dict.fromkeys(i for i in ids if i is not None and i != tokenizer.unk_token_id))
    generation.eos_token_id = known if len(known) > 1 else next(iter(known), None)
    if generation.pad_token_id is None:
        generation.pad_token_id = tokenizer.pad_token_id


@contextmanager
def explained() -> Iterator[None]:
    """Failures of writing, in words. Both libraries that write here have errors of their own for a full disk."""
    try:
        yield
    except OSError as e:
        raise RunError(f"cannot write the export: {e.strerror or e}", "is there enough room on the disk?") from e
    except Exception as e:
        if type(e).__name__ == "SafetensorError":
            raise RunError(f"cannot write the export: {e}", "is there enough room on the disk?") from e
        raise


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
