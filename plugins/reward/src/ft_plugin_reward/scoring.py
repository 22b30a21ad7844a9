"""Scores of conversations by a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ft_plugin_rm.value_head import ValueHead, last_values
from ftk.contracts import Message, Template, Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class ModelScores:
    """A reward: the value that a model gives the last token of a conversation, rendered by the model's own template.

    head  the value head; ``None`` for a sequence classifier
    """

    def __init__(
        self,
        model: PreTrainedModel,
        head: ValueHead | None,
        tokenizer: PreTrainedTokenizerBase,
        template: Template,
        *,
        batch: int,
    ) -> None:
        self.model = model.requires_grad_(False).eval()
        if torch.accelerator.is_available() and not (hasattr(model, "hf_device_map") or _is_quantized(model)):
            self.model.to(torch.accelerator.current_accelerator())
        self.head = head and head.requires_grad_(False).to(model.device)
        self.pad_token_id, self.template, self.batch = tokenizer.pad_token_id, template, batch

    def __call__(
        self, *, prompts: Sequence[Sequence[Message]], completions: Sequence[str], **columns: Any
    ) -> list[float | None]:
        """``None`` for a conversation that the template cannot render."""
        pairs = zip(prompts, completions, strict=True)
        talks = [([*prompt, Message(role="assistant", content=text)], ()) for prompt, text in pairs]
        encoded = self.template.encode(talks, train_on="all")
        usable = [(i, tokens.input_ids) for i, tokens in enumerate(encoded) if isinstance(tokens, Tokens)]
        usable.sort(key=lambda one: len(one[1]))
        scores: list[float | None] = [None] * len(encoded)
        for start in range(0, len(usable), self.batch):
            part = usable[start : start + self.batch]
            for (i, _), score in zip(part, self._scores([ids for _, ids in part]), strict=True):
                scores[i] = score
        return scores

    @torch.no_grad()
    def _scores(self, rows: Sequence[list[int]]) -> list[float]:
        ids_BT = torch.full((len(rows), max(map(len, rows))), self.pad_token_id)
        mask_BT = torch.zeros_like(ids_BT)
        for i, ids in enumerate(rows):
            ids_BT[i, : len(ids)], mask_BT[i, : len(ids)] = torch.tensor(ids), 1
        inputs = {"input_ids": ids_BT.to(self.model.device), "attention_mask": mask_BT.to(self.model.device)}
        if self.head is not None:
            return last_values(self.model, self.head, inputs).tolist()
        return self.model(**inputs).logits[:, 0].tolist()


def _is_quantized(model: PreTrainedModel) -> bool:
    return bool(getattr(model, "is_quantized", False))
