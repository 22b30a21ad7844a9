"""Data for stages that generate: prompts, and what rewards want to know about them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ft_plugin_trainer.encoding import identity
from ftk.contracts import Encoded, Example, Message, Template
from ftk.problems import RowError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Prompt:
    """A row of a batch."""

    ids: list[int]
    messages: list[Message]
    """The conversation up to the answer that is wanted."""
    columns: dict[str, Any]
    """Other columns of the row; ``answer`` is the answer that was in the data, unless a column has that name."""


class PromptEncoder:
    """Examples -> ``prompt_input_ids``, and ``example``: the rest as JSON.

    A prompt is never cut: it is kept, or refused. The last answer of a conversation is no part of the prompt. Raw text
    is a question of the user.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: Template, *, cutoff_len: int) -> None:
        self.template, self.cutoff_len = template, cutoff_len
        self.collate = PromptCollator(tokenizer.pad_token_id)
        self.fingerprint = identity(tokenizer, "prompts", template.fingerprint, cutoff_len)

    def encode(self, examples: Sequence[Example]) -> list[list[Encoded] | RowError]:
        return [self._encoded(example) for example in examples]

    def _encoded(self, example: Example) -> list[Encoded] | RowError:
        messages = list(example.messages) or ([Message(role="user", content=example.text)] if example.text else [])
        answer = [*example.chosen][-1:]
        while messages and messages[-1].get("role") == "assistant":
            answer = [messages.pop()]
        if not any(message.get("role") in ("user", "tool") for message in messages):
            return RowError("no prompt: there is no turn of the user before the answer")
        try:
            ids = self.template.encode_prompt(messages, tools=example.tools)
        except RowError as e:
            return e
        if len(ids) > self.cutoff_len:
            return RowError(f"the prompt has {len(ids)} tokens, more than cutoff_len={self.cutoff_len}")
        known = {"answer": text_of(answer[0])} if answer else {}
        rest = {"messages": messages, "columns": known | dict(example.columns)}
        return [Encoded({"prompt_input_ids": ids, "example": json.dumps(rest, default=str)})]


class PromptCollator:
    """Rows of ``PromptEncoder`` -> tensors only, which loaders of any kind can send to processes and cut."""

    def __init__(self, pad_token_id: int) -> None:
        self.pad_token_id = pad_token_id

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """``prompt_ids`` and ``prompt_mask`` (B, P), padded on the left, and ``example`` (B, L): JSON in UTF-8."""
        width = max(len(row["prompt_input_ids"]) for row in rows)
        ids_BP = torch.full((len(rows), width), self.pad_token_id)
        mask_BP = torch.zeros_like(ids_BP)
        for i, row in enumerate(rows):
            start = width - len(row["prompt_input_ids"])
            ids_BP[i, start:] = torch.tensor(row["prompt_input_ids"])
            mask_BP[i, start:] = 1
        texts = [row["example"].encode() for row in rows]
        longest = max(map(len, texts))
        # JSON ignores white space behind it.
        example_BL = torch.tensor([list(text.ljust(longest)) for text in texts], dtype=torch.uint8)
        return {"prompt_ids": ids_BP, "prompt_mask": mask_BP, "example": example_BL}


def prompts_of(batch: Mapping[str, torch.Tensor]) -> list[Prompt]:
    """The rows of a batch that ``PromptCollator`` made."""
    prompts = []
    for ids_P, mask_P, text_L in zip(batch["prompt_ids"], batch["prompt_mask"], batch["example"], strict=True):
        rest = json.loads(bytes(text_L.tolist()))
        prompts.append(Prompt(ids_P[mask_P == 1].tolist(), rest["messages"], rest["columns"]))
    return prompts


def text_of(message: Message) -> str:
    """What a message says, without its media and calls."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content if part.get("type") == "text")
