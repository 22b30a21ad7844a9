"""An inference back end: greedy decoding, written out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ft_plugin_generate.config import GenerateConfig
from ftk.contracts import Message, Template
from ftk.markers import hookimpl

if TYPE_CHECKING:
    from ftk.run import Run


class SkeletonName:
    @hookimpl
    def ftk_engine(self, run: Run) -> GreedyEngine:
        tokenizer = run.load_tokenizer()
        model = run.adapt_model(run.load_model()).eval()
        length = run.config[GenerateConfig].max_new_tokens
        return GreedyEngine(model, tokenizer, run.load_template(tokenizer), length)


class GreedyEngine:
    """Takes the most likely token, again and again."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, template: Template, length: int
    ) -> None:
        self.model, self.tokenizer, self.template, self.length = model, tokenizer, template, length
        self.stops = {tokenizer.eos_token_id, *(tokenizer.convert_tokens_to_ids(stop) for stop in template.stop)}

    def stream(self, messages: Sequence[Message], *, tools: Sequence[Mapping] = (), **generation: Any) -> Iterator[str]:
        """Pieces of the answer. ``max_new_tokens`` overrides the config's for this call."""
        answer: list[int] = []
        said = ""
        for token in self.tokens(self.template.encode_prompt(messages, tools=tools), **generation):
            answer.append(token)
            text = str(self.tokenizer.decode(answer))
            # A letter of several bytes is no letter until its last token.
            if not text.endswith("\ufffd"):
                yield text[len(said) :]
                said = text

    @torch.no_grad()
    def next_token(self, ids: list[int]) -> int:
        logits_BTV = self.model(input_ids=torch.tensor([ids], device=self.model.device)).logits
        return int(logits_BTV[0, -1].argmax())

    def tokens(self, prompt: list[int], **generation: Any) -> Iterator[int]:
        ids = list(prompt)
        for _ in range(generation.get("max_new_tokens") or self.length):
            token = self.next_token(ids)
            if token in self.stops:
                return
            ids.append(token)
            yield token
