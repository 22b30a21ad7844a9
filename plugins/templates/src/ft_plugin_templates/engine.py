"""A template bound to a tokenizer: conversations to text, token ids and loss weights."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Literal

from tokenizers import Encoding

from ftk.contracts import Message, Tokens
from ftk.problems import RowError, RunError

from .control import CUT, ControlText
from .messages import message_weights, normal_messages, normal_tools
from .pack import Facts
from .rendering import Jinja, Span

TrainOn = Literal["assistant", "last", "all"]
WeightedSpan = tuple[int, int, float]
"""Start, end and loss weight of a stretch of characters."""


class ChatTemplate:
    """``ftk.contracts.Template`` by one Jinja template. Picklable; one copy of the tokenizer is made at first use.

    facts           the template
    tokenizer       of transformers, backed by the tokenizers library
    default_system  in place of the template's own, "" for none
    variables       values of Jinja variables, written into the template
    keep_thoughts   False takes the thoughts out of the answers of the data
    marks           a template known to render the same, with marks: where it does, its marks say what carries loss
    """

    def __init__(
        self,
        facts: Facts,
        tokenizer: Any,
        *,
        default_system: str | None = None,
        variables: Mapping[str, Any] | None = None,
        keep_thoughts: bool = True,
        marks: Facts | None = None,
    ) -> None:
        self.name = facts.name
        self.facts = facts
        self.unfit: RunError | None = None
        """Why no conversation can be trained on with it, once it has been tried; ``encode`` raises it."""
        self.stop = tuple(dict.fromkeys(filter(None, (*facts.stop, tokenizer.eos_token))))
        system = facts.default_system if default_system is None else default_system
        tokens = tokenizer.special_tokens_map
        self._jinja = Jinja(facts.chat_template, tokens, default_system=system, variables=variables)
        self._marks: Jinja | None = None
        if marks is not None:
            system = default_system or marks.default_system  # what "" would take out, the other template still writes
            self._marks = Jinja(marks.chat_template, tokens, default_system=system, variables=variables)
        self._control = ControlText(tokenizer, facts.chat_template)
        self._without = None if keep_thoughts else facts.thought

    @property
    def is_marked(self) -> bool:
        """Whether its text itself says what carries loss."""
        return self._jinja.is_marked

    @property
    def jinja(self) -> str:
        return self._jinja.text

    @property
    def fingerprint(self) -> str:
        marks = self._marks and self._marks.text
        settings = [self.jinja, marks, self._without and asdict(self._without), self._jinja.special_tokens]
        return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()

    def render(
        self, messages: Sequence[Message], *, tools: Sequence[Mapping] = (), generation_prompt: bool = False
    ) -> str:
        prepared = self._prepare(messages, tools)
        return self._control.reveal(self._jinja.render(*prepared, generation_prompt=generation_prompt)[0])

    def encode_prompt(self, messages: Sequence[Message], *, tools: Sequence[Mapping] = ()) -> list[int]:
        """Token ids up to where the assistant's next answer begins."""
        text, _ = self._jinja.render(*self._prepare(messages, tools), generation_prompt=True)
        (encoding,) = self._control.encode([text])
        return self._control.splice(encoding.ids, [0.0] * len(encoding.ids))[0]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens as it was rendered, control tokens too."""
        return self._control.decode(ids)

    def encode(
        self,
        conversations: Sequence[tuple[Sequence[Message], Sequence[Mapping]]],
        *,
        train_on: TrainOn = "assistant",
    ) -> list[Tokens | RowError]:
        """Token ids and loss weights of whole conversations: (messages, tools) each, tokenised in one batch.

        train_on  "assistant": every answer; "last": the last answer only; "all": every token, prompts too
        """
        if self.unfit is not None:
            raise self.unfit
        results: list[Tokens | RowError | None] = []
        rendered: list[tuple[str, list[WeightedSpan]]] = []
        for messages, tools in conversations:
            try:
                rendered.append(self.weighted(messages, tools, train_on))
                results.append(None)
            except RowError as e:
                results.append(e)
        encoded = iter(self._encode(rendered, default=1.0 if train_on == "all" else 0.0))
        return [next(encoded) if result is None else result for result in results]

    def _prepare(self, messages: Sequence[Mapping], tools: Sequence[Mapping]) -> tuple[list[dict], list[dict]]:
        """Messages and tools in normal form with their control tokens out of the way. Refuses what would be lost."""
        normal = normal_messages(messages, without=self._without)
        if tools and not self._jinja.takes_tools:
            raise RowError(f"template {self.name!r} has no place for tool schemas")
        for i, message in enumerate(normal, start=1):
            if "tool_calls" in message and not self._jinja.takes_tool_calls:
                raise RowError(f"turn {i}: template {self.name!r} has no place for tool calls")
            if message.get("reasoning_content") and not self._jinja.takes_thoughts:
                raise RowError(f"turn {i}: template {self.name!r} has no place for reasoning_content")
        protect = self._control.protect_message
        return [protect(m) for m in normal], [self._control.protect_tool(t) for t in normal_tools(tools)]

    def weighted(
        self, messages: Sequence[Mapping], tools: Sequence[Mapping], train_on: TrainOn
    ) -> tuple[str, list[WeightedSpan]]:
        """The text of a conversation, and the stretches whose loss weight differs from the default. Raises RowError.

        Literals of control tokens are still sentinels in the text.
        """
        weights = message_weights(messages)
        normal, schemas = self._prepare(messages, tools)
        answers = [i for i, message in enumerate(normal) if message["role"] == "assistant"]
        trained = answers[-1:] if train_on == "last" else answers
        text, marked = self._render_marked(normal, schemas)
        for i in answers:
            said = normal[i]["content"].strip()
            if "tool_calls" in normal[i] and said not in text and not self._has_thought(said):
                raise RowError(f"turn {i + 1}: template {self.name!r} drops the text beside tool calls")
        default = 1.0 if train_on == "all" else 0.0
        wanted = [i for i in trained if weights[i] != default]
        if marked is not None:
            spans = list(zip(marked, self._owners(normal, schemas, text, answers, marked), strict=True))
        else:
            spans = [(self._turn(normal, schemas, text, i), i) for i in wanted]
        if bare := sorted(set(wanted) - {i for _, i in spans}):
            raise RowError(f"turn {bare[0] + 1}: template {self.name!r} marks nothing of it")
        return text, [(start, end, weights[i]) for (start, end), i in spans if i in wanted]

    def _render_marked(self, messages: list[dict], tools: list[dict]) -> tuple[str, list[Span] | None]:
        """The text, and its marked stretches; None where nothing marks this one."""
        text, spans = self._jinja.render(messages, tools)
        if self._jinja.is_marked:
            return text, spans
        if self._marks is not None:
            with suppress(RowError):
                return text, _carried_over(text, *self._marks.render(messages, tools))
        return text, None

    def _has_thought(self, text: str) -> bool:
        return self.facts.thought is not None and self.facts.thought.close in text

    def _owners(
        self, messages: list[dict], tools: list[dict], whole: str, answers: list[int], marked: list[Span]
    ) -> list[int]:
        """Which message each marked stretch belongs to."""
        if len(marked) == len(answers):
            return answers
        begins = []
        for i in answers:
            prompt, _ = self._jinja.render(messages[:i], tools, generation_prompt=True)
            if not whole.startswith(prompt):
                raise RowError(f"turn {i + 1}: which of the marked stretches are its own cannot be told")
            begins.append(len(prompt))
        return [answers[max(bisect_right(begins, start) - 1, 0)] for start, _ in marked]

    def _turn(self, messages: list[dict], tools: list[dict], whole: str, i: int) -> Span:
        """Where answer ``i`` is in the text: between the prompt for it and what is there once it is given."""
        prompt, _ = self._jinja.render(messages[:i], tools, generation_prompt=True)
        given = whole if i == len(messages) - 1 else self._jinja.render(messages[: i + 1], tools)[0]
        if not given.startswith(prompt):
            reason = "what comes before it is not the prompt that a model would be given"
        elif not whole.startswith(given):
            reason = "the template rewrites it when later turns follow, so it is never what a model would have written"
        else:
            return len(prompt), len(given)
        raise RowError(f"turn {i + 1}: {reason}; set mask_history: true, or name a template that marks its answers")

    def _encode(self, rendered: Sequence[tuple[str, list[WeightedSpan]]], default: float) -> list[Tokens | RowError]:
        out: list[Tokens | RowError | None] = []
        for text, spans in rendered:
            found = self._control.by_words(text, [position for start, end, _ in spans for position in (start, end)])
            out.append(found and _weigh(*found, spans, default))
        left = [row for row, done in zip(rendered, out, strict=True) if done is None]
        others = iter(self._encode_others(left, default) if left else ())
        return [next(others) if done is None else done for done in out]

    def _encode_others(
        self, rendered: Sequence[tuple[str, list[WeightedSpan]]], default: float
    ) -> list[Tokens | RowError]:
        """By the tokenizer itself."""
        encodings = self._control.encode([text for text, _ in rendered])
        rows = list(zip(rendered, encodings, strict=True))
        # A model is given the prompt alone, so no token of it may reach into the answer.
        joined = [
            i for i, ((_, spans), encoding) in enumerate(rows) if any(_is_inside(encoding, s) for s, _, _ in spans)
        ]
        if joined:
            cut = [self._cut(*rendered[i]) for i in joined]
            again = self._control.encode([text for text, _ in cut])
            for i, row, encoding in zip(joined, cut, again, strict=True):
                rows[i] = (row, encoding)
        return [self._tokens(encoding, text, spans, default) for (text, spans), encoding in rows]

    def _cut(self, text: str, spans: Sequence[WeightedSpan]) -> tuple[str, list[WeightedSpan]]:
        """The same with a sentinel before each stretch, through which no token goes."""
        cut = self._control.sentinel(CUT)
        pieces, moved, at = [], [], 0
        for n, (start, end, weight) in enumerate(spans, start=1):
            pieces += [text[at:start], cut]
            moved.append((start + n, end + n, weight))
            at = start
        return "".join([*pieces, text[at:]]), moved

    def _tokens(
        self, encoding: Encoding, text: str, spans: Sequence[WeightedSpan], default: float
    ) -> Tokens | RowError:
        places = [_token_at(encoding, at, len(text)) for start, end, _ in spans for at in (start, end)]
        tokens = _weigh(encoding.ids, places, spans, default)
        if isinstance(tokens, RowError):
            return tokens
        return Tokens(*self._control.splice(tokens.input_ids, tokens.weights))


def _weigh(ids: list[int], places: Sequence[int], spans: Sequence[WeightedSpan], default: float) -> Tokens | RowError:
    """The ids with their weights. ``places``: the first token of each stretch, and the first after it, in turn."""
    weights = [default] * len(ids)
    for n, (_, _, weight) in enumerate(spans):
        first, last = places[2 * n], places[2 * n + 1]
        weights[first:last] = [weight] * (last - first)
    return Tokens(ids, weights) if any(weights) else RowError("no token of it carries loss")


def _carried_over(text: str, marked_text: str, spans: Sequence[Span]) -> list[Span] | None:
    """The marked stretches of one text in another that is the same from the first of them on; None if it is not.

    What stands before may differ: the day's date, or a system prompt.
    """
    first, shift = spans[0][0] if spans else len(marked_text), len(text) - len(marked_text)
    if first + shift < 0 or text[first + shift :] != marked_text[first:]:
        return None
    return [(start + shift, end + shift) for start, end in spans]


def _is_inside(encoding: Encoding, position: int) -> bool:
    """Whether a token begins before the character and reaches into it."""
    token = encoding.char_to_token(position)
    return token is not None and encoding.token_to_chars(token)[0] < position


def _token_at(encoding: Encoding, position: int, length: int) -> int:
    """The first token that begins at the character or after it."""
    while position < length:
        token = encoding.char_to_token(position)
        if token is not None:
            return token if encoding.token_to_chars(token)[0] >= position else token + 1
        position += 1
    return len(encoding.ids)
