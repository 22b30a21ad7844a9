"""The extension point of LoRA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ftk.markers import hookspec

if TYPE_CHECKING:
    from ftk.run import Run


class LoraSpecs:
    @hookspec
    def ftk_lora_kwargs(self, run: Run) -> dict[str, Any]:
        """Keyword arguments for ``peft.LoraConfig``. Merged; two components setting one is an error.

        Called   once, before a new adapter is made, and to compare with an adapter that is trained further
        Returns  e.g. ``{"use_dora": True}``; lora itself sets ``r``, ``lora_alpha`` and ``lora_dropout``
        Default  nothing
        Example  rank-stabilised LoRA: ``return {"use_rslora": True}``
        """
