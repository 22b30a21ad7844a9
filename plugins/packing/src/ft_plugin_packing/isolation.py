"""What a model needs so that documents of one row do not see each other.

Most models of transformers build block masks from positions that begin anew, provided that there is neither an
attention mask nor a cache; sliding windows and chunks are counted within documents. What is left to do here: masks for
models that keep the positions from them, boundaries for flash attention, which takes no mask, and layers that carry a
state from token to token.

Shape suffixes: B rows, T positions, D documents, L positions of the longest of them.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn
from transformers.masking_utils import create_masks_for_generate

STATEFUL = re.compile(
    r"(GatedDeltaNet|DeltaAttention|LightningAttention|TextLinearAttention|ShortConv|Mamba2?Mixer|MambaLayer"
    r"|(Bamba|FalconH1)Mixer|RecurrentBlock)$"
)
"""Names of transformers' classes that pass a convolution's or a recurrence's state along a row."""
VARLEN = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "seq_idx")


class Isolation:
    """Prepares each packed batch on its way into the model it is made for.

    like  another model's, which has been proved: what that one needed, this one gets
    """

    def __init__(self, model: nn.Module, *, like: Isolation | None = None) -> None:
        self.flash = "flash" in (getattr(model.config.get_text_config(), "_attn_implementation", None) or "")
        self.documents: Documents | None = None
        """Of the last batch: the backward pass, which may compute layers again, comes before the next one."""
        self.makes_masks = False
        """Hand the model finished masks, as ``generate`` does. Not every model takes them."""
        self.like = like or self
        self.model = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.stateful = [name for name, m in model.named_modules() if STATEFUL.search(type(m).__name__)]
        for name in self.stateful:
            module = model.get_submodule(name)
            module.forward = ByDocument(self, module.forward)
        model.register_forward_pre_hook(self._prepare, with_kwargs=True)

    def _prepare(self, model: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        positions_BT = kwargs.get("position_ids")
        packed = positions_BT is not None and kwargs.get("attention_mask") is None
        self.documents = Documents(positions_BT) if packed and self.stateful else None
        if packed:
            kwargs = {**kwargs, "use_cache": False, **(boundaries(positions_BT) if self.flash else {})}
        if packed and self.like.makes_masks:
            kwargs["attention_mask"] = self._masks(positions_BT)
        return args, kwargs

    def _masks(self, positions_BT: torch.Tensor) -> Any:
        """One for each kind of layer, or one for all, in the form that the attention in use takes."""
        shape_of = torch.empty(*positions_BT.shape, 0, dtype=self.model.dtype, device=positions_BT.device)
        make = getattr(self.model, "create_masks_for_generate", create_masks_for_generate)
        return make(
            config=self.model.config,
            inputs_embeds=shape_of,
            attention_mask=None,
            past_key_values=None,
            position_ids=positions_BT,
        )


def boundaries(positions_BT: torch.Tensor) -> dict[str, Any]:
    """Where documents begin and end in all rows laid end to end, as flash attention takes it."""
    starts = (positions_BT.flatten() == 0).nonzero()[:, 0]
    edges = torch.cat([starts, starts.new_tensor([positions_BT.numel()])]).int()
    longest = int(edges.diff().max())
    return {"cu_seq_lens_q": edges, "cu_seq_lens_k": edges, "max_length_q": longest, "max_length_k": longest}


class Documents:
    """Moves values of a packed batch between rows of several documents and rows of one."""

    def __init__(self, positions_BT: torch.Tensor) -> None:
        self.shape = positions_BT.shape
        edges = boundaries(positions_BT)["cu_seq_lens_q"].long()
        starts, lengths = edges[:-1], edges.diff()
        # Together with others of less than twice their length, so that less than half of what is computed is padding.
        size = lengths.log2().floor()
        self.groups = [self._group(starts[size == s], lengths[size == s]) for s in size.unique()]
        self.inverse = torch.cat([index_DL[real_DL] for index_DL, real_DL in self.groups]).argsort()

    @staticmethod
    def _group(starts: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Where in the batch the tokens of some documents are, and which of these places are no padding."""
        steps = torch.arange(int(lengths.max()), device=starts.device)
        real_DL = steps < lengths[:, None]
        # Padding on the right repeats the last token: what passes a state along never looks ahead.
        return starts[:, None] + torch.minimum(steps, lengths[:, None] - 1), real_DL

    def fits(self, value: Any) -> bool:
        return isinstance(value, torch.Tensor) and value.shape[:2] == self.shape

    def split(self, value: Any, index_DL: torch.Tensor) -> Any:
        """Values of shape (B, T, ...) of some documents as (D, L, ...); anything else as it is."""
        return value.flatten(0, 1)[index_DL] if self.fits(value) else value

    def whole(self, parts: list[torch.Tensor]) -> torch.Tensor:
        """What became of each group, as (B, T, ...)."""
        flat = torch.cat([part[real_DL] for part, (_, real_DL) in zip(parts, self.groups, strict=True)])
        return flat[self.inverse].unflatten(0, self.shape)


class ByDocument:
    """A module's forward pass that gets each document of a packed batch as a row of its own."""

    def __init__(self, isolation: Isolation, forward: Any) -> None:
        self.isolation, self.forward = isolation, forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        documents = self.isolation.documents
        if documents is None:
            return self.forward(*args, **kwargs)
        kwargs = {key: value for key, value in kwargs.items() if key not in VARLEN}
        outputs = [
            self.forward(
                *(documents.split(value, index_DL) for value in args),
                **{key: documents.split(value, index_DL) for key, value in kwargs.items()},
            )
            for index_DL, _ in documents.groups
        ]
        if isinstance(outputs[0], tuple):
            return documents.whole([output[0] for output in outputs]), *outputs[0][1:]
        return documents.whole(outputs)
