"""The add-on: tells loaders which model the reference is, and in how many bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import BitsAndBytesConfig

from ftk.markers import hookimpl

from .config import ReferenceModelConfig

if TYPE_CHECKING:
    from ftk.contracts import Role
    from ftk.run import Run


class ReferenceModel:
    @hookimpl(optionalhook=True)  # a plan without ft-plugin-hf has no such hook
    def ftk_model_name(self, run: Run, role: Role) -> str | None:
        return run.config[ReferenceModelConfig].ref_model if role == "reference" else None

    @hookimpl
    def ftk_model_kwargs(self, run: Run, role: Role) -> dict[str, Any]:
        bits = run.config[ReferenceModelConfig].ref_model_quantization_bit
        if role != "reference" or bits is None:
            return {}
        return {"quantization_config": BitsAndBytesConfig(load_in_4bit=bits == 4, load_in_8bit=bits == 8)}
