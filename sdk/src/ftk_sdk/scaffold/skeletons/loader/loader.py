"""A model and its tokenizer from a folder, and from nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ftk.contracts import Role
from ftk.markers import hookimpl
from ftk.problems import RunError

from .config import SkeletonNameConfig

if TYPE_CHECKING:
    from ftk.run import Run


class SkeletonName:
    @hookimpl
    def ftk_load_tokenizer(self, run: Run) -> PreTrainedTokenizerBase:
        tokenizer = AutoTokenizer.from_pretrained(folder_of(run), local_files_only=True)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    @hookimpl
    def ftk_load_model(self, run: Run, kwargs: Mapping[str, Any], role: Role) -> PreTrainedModel:
        # kwargs: what quantizers, attention kernels and the like asked for with ftk_model_kwargs.
        return AutoModelForCausalLM.from_pretrained(folder_of(run), local_files_only=True, **kwargs)


def folder_of(run: Run) -> str:
    name = str(run.config[SkeletonNameConfig].skeleton_name_folder)
    if not Path(name).is_dir():
        raise RunError(f"skeleton_name_folder: there is no folder {name!r}", "correct the path")
    return name
