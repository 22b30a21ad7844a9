"""Answers with transformers, token by token."""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from ftk.contracts import Engine, Message, Template
from ftk.markers import hookimpl
from ftk.problems import RowError, RunError
from ftk.run import Run

from .config import GenerateConfig, InferConfig
from .text import decoded, until

SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "top_h")
KEYS = frozenset(f.name for f in dataclasses.fields(GenerateConfig)) | {"seed", "stop"}


class Hf:
    @hookimpl
    def ftk_engine(self, run: Run) -> Engine:
        tokenizer = run.load_tokenizer()
        template = run.load_template(tokenizer)
        model = run.adapt_model(run.load_model())
        config = run.config[GenerateConfig]
        defaults = {f.name: getattr(config, f.name) for f in dataclasses.fields(GenerateConfig)}
        if run.config.was_set("max_length") and not run.config.was_set("max_new_tokens"):
            defaults["max_new_tokens"] = 0
        defaults |= {"seed": run.seed, "use_cache": run.config[InferConfig].use_kv_cache}
        return HfEngine(model, tokenizer, template, defaults)


class HfEngine:
    """One model that answers one conversation at a time.

    defaults  the keys of GenerateConfig, ``seed`` and ``use_cache``
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        template: Template,
        defaults: Mapping[str, Any],
    ) -> None:
        self.model, self.tokenizer, self.template = model.eval(), tokenizer, template
        self._defaults = dict(defaults)
        self._stop_ids, self._stop_strings = stops_of(model, tokenizer, template.stop)
        for name in SAMPLING:
            # What the model's author recommends would mix with what the config says.
            if hasattr(model.generation_config, name):
                setattr(model.generation_config, name, None)

    def stream(self, messages: Sequence[Message], *, tools: Sequence[Mapping] = (), **generation: Any) -> Iterator[str]:
        """Pieces of the answer. Keywords are keys of GenerateConfig, ``seed``, and ``stop``: more strings that end it.

        The same seed gives the same text. Leaving the iterator ends the computation. Raises RunError for a conversation
        that the template or the model cannot take.
        """
        if unknown := generation.keys() - KEYS:
            raise RunError(f"no generation key {', '.join(sorted(unknown))}", f"there are {', '.join(sorted(KEYS))}")
        settings = self._defaults | generation
        stops = [*self._stop_strings, *settings.pop("stop", ())]
        skip = settings.pop("skip_special_tokens")
        try:
            prompt = self.template.encode_prompt(messages, tools=tools)
        except RowError as e:
            raise RunError(f"the template cannot take this conversation: {e}") from e

        def decode(ids: list[int]) -> str:
            return self.tokenizer.decode(ids, skip_special_tokens=skip)

        with closing(self._answer_ids(prompt, settings)) as ids:
            yield from until(decoded(ids, decode), stops)

    def _answer_ids(self, prompt: list[int], settings: dict[str, Any]) -> Iterator[int]:
        """Token ids of the answer, without the one that ends it, while another thread computes them."""
        tokens = _Tokens()
        seed = settings.pop("seed")
        arguments = arguments_of(settings, len(prompt), self._limit())
        ids = torch.tensor([prompt], device=self.model.device)
        beams = arguments.get("num_beams", 1) > 1

        def compute() -> None:
            try:
                with torch.random.fork_rng():
                    torch.manual_seed(seed)
                    out = self.model.generate(
                        input_ids=ids,
                        attention_mask=torch.ones_like(ids),
                        eos_token_id=self._stop_ids or None,
                        pad_token_id=self.tokenizer.pad_token_id,
                        stopping_criteria=StoppingCriteriaList([tokens.left]),
                        streamer=None if beams else tokens,
                        **arguments,
                    )
                if beams:  # the best is known at the end only
                    tokens.put(out[0, len(prompt) :])
            except BaseException as e:
                tokens.ready.put(e)
            finally:
                tokens.ready.put(None)

        thread = threading.Thread(target=compute, name="ftk answer", daemon=True)
        thread.start()
        try:
            while (item := tokens.ready.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                if item not in self._stop_ids:
                    yield item
        finally:
            tokens.left.set()
            thread.join()

    def _limit(self) -> int | None:
        return getattr(self.model.config.get_text_config(decoder=True), "max_position_embeddings", None)


def stops_of(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, strings: Sequence[str]
) -> tuple[list[int], list[str]]:
    """Token ids that end an answer, and the strings of ``strings`` that no single token stands for."""
    own = getattr(model.generation_config, "eos_token_id", None)
    ids = [*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id]
    spelled = []
    for string in strings:
        encoded = tokenizer.encode(string, add_special_tokens=False)
        if len(encoded) == 1:
            ids += encoded
        else:
            spelled.append(string)
    return list(dict.fromkeys(i for i in ids if i is not None)), spelled


def arguments_of(settings: Mapping[str, Any], prompt: int, limit: int | None) -> dict[str, Any]:
    """Arguments of ``generate``: only those that matter, because transformers warns about others.

    prompt  tokens of the conversation so far
    limit   tokens that the model takes; ``None`` when it does not say
    """
    arguments = dict(settings)
    if limit is not None and prompt >= limit:
        raise RunError(f"the conversation has {prompt} tokens, and the model takes {limit}", "begin a new one")
    length = arguments.pop("max_length")
    new = arguments.pop("max_new_tokens") or length - prompt
    if new < 1:
        raise RunError(
            f"the conversation has {prompt} tokens, and max_length is {length}", "begin a new one, or raise it"
        )
    arguments["max_new_tokens"] = new if limit is None else min(new, limit - prompt)
    if not arguments["do_sample"]:
        arguments = {key: value for key, value in arguments.items() if key not in SAMPLING}
    if arguments["num_beams"] == 1:
        del arguments["length_penalty"]
    return arguments


class _Left(StoppingCriteria):
    """Ends a computation whose answer nobody waits for any more."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **_: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self._event.is_set(), device=input_ids.device)


class _Tokens(BaseStreamer):
    """Hands token ids from the computing thread to the reading one."""

    def __init__(self) -> None:
        self.ready: queue.SimpleQueue[int | BaseException | None] = queue.SimpleQueue()
        self.left = _Left()
        self._prompt = True

    def put(self, value: torch.Tensor) -> None:
        if self._prompt and value.ndim > 1:  # the prompt, which comes first, has a batch dimension
            self._prompt = False
            return
        for token in value.flatten().tolist():
            self.ready.put(token)

    def end(self) -> None:
        pass
