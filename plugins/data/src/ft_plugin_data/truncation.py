"""Conversations that are longer than ``cutoff_len``, made to fit.

What is cut is the text of an answer or a prompt, or whole turns: templates write their markers around what is left, so
that none of them, and no token that ends a turn, is ever missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from typing import Any, Literal

from ftk.contracts import Message, Template, Tokens
from ftk.problems import RowError

from .config import DataConfig, Policy
from .splicing import outlines_of, spliced

Conversation = tuple[Sequence[Message], Sequence[Mapping[str, Any]]]
"""Messages and tools."""
Pair = tuple[Sequence[Message], Sequence[Message], Sequence[Message], Sequence[Mapping[str, Any]]]
"""Prompt, chosen, rejected, tools."""

ROOM = 0.25
"""Part of ``cutoff_len`` that the first answer has, or what it needs if that is less: the prompt gives way."""


class TooLong(RowError):
    """A row that ``truncation: error`` lets stop the run."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A conversation of at most ``cutoff_len`` tokens."""

    tokens: Tokens
    truncated: int = 0
    """How many tokens it has lost."""
    where: str = ""
    """What it has lost."""


class Fitting:
    """Encodes conversations, and cuts those that are too long. Picklable.

    policy    ``right`` keeps the beginning, ``left_history`` the end; ``drop`` and ``error`` cut nothing
    train_on  what carries loss, as in ``Template.encode``
    """

    def __init__(
        self,
        template: Template,
        *,
        cutoff_len: int,
        policy: Policy = "right",
        train_on: Literal["assistant", "last", "all"] = "assistant",
    ) -> None:
        self.template, self.cutoff_len, self.policy, self.train_on = template, cutoff_len, policy, train_on

    @classmethod
    def configured(cls, data: DataConfig, template: Template) -> Fitting:
        return cls(template, cutoff_len=data.cutoff_len, policy=data.truncation, train_on=data.train_on)

    @property
    def settings(self) -> tuple[Any, ...]:
        """What an encoder's fingerprint must know."""
        return self.cutoff_len, self.policy, self.train_on

    def encode(self, conversations: Sequence[Conversation]) -> list[Fitted | RowError]:
        """For each conversation, in order: its tokens, or why there are none."""
        encoded = self.template.encode(conversations, train_on=self.train_on)
        return [
            tokens if isinstance(tokens, RowError) else self._with_loss(self._fitted(tokens, conversation))
            for tokens, conversation in zip(encoded, conversations, strict=True)
        ]

    def encode_pairs(self, pairs: Sequence[Pair]) -> list[tuple[Fitted, Fitted] | RowError]:
        """For each pair: the conversations of prompt and chosen, and of prompt and rejected, with the same prompt."""
        both = [([*prompt, *answer], tools) for prompt, *answers, tools in pairs for answer in answers]
        encoded = iter(self.template.encode(both, train_on=self.train_on))
        out: list[tuple[Fitted, Fitted] | RowError] = []
        for number, (prompt, *_) in enumerate(pairs):
            here = [(next(encoded), both[2 * number + side]) for side in (0, 1)]
            out.append(self._fitted_pair(here, len(prompt)))
        return out

    def _fitted_pair(
        self, pair: list[tuple[Tokens | RowError, Conversation]], prompt: int
    ) -> tuple[Fitted, Fitted] | RowError:
        start = 0
        for tokens, conversation in pair:
            if isinstance(tokens, RowError):
                return tokens
            if self.policy == "left_history" and self._exceeds(tokens):
                start = max(start, self._start(conversation, prompt))
        left = [self._from_turn(c, start, prompt) for tokens, c in pair if start or self._exceeds(tokens)]  # type: ignore[arg-type]
        share = min((n for n in (self._prompt_share(*c) for c in left) if n is not None), default=None)
        sides = [self._with_loss(self._fitted(tokens, c, prompt, start, share)) for tokens, c in pair]  # type: ignore[arg-type]
        failed = next((side for side in sides if isinstance(side, RowError)), None)
        return failed if failed is not None else (sides[0], sides[1])  # type: ignore[return-value]

    def _fitted(
        self, tokens: Tokens, conversation: Conversation, prompt: int = 0, start: int = 0, share: int | None = None
    ) -> Fitted | RowError:
        """``prompt``: as many messages must stay.

        start, share  where another answer to the same prompt makes it begin, and how many tokens it leaves to it
        """
        length = len(tokens.input_ids)
        if not start and share is None and not self._exceeds(tokens):
            return Fitted(tokens)
        if self.policy in ("drop", "error"):
            error = TooLong if self.policy == "error" else RowError
            return error(f"{length} tokens, where cutoff_len is {self.cutoff_len}")
        where = []
        if self.policy == "left_history" and (start := start or self._start(conversation, prompt)):
            begins = leading(conversation[0])
            where = [f"turns {begins + 1} to {start}" if start > begins + 1 else f"turn {start}"]
            conversation, prompt = self._from_turn(conversation, start, prompt)
        share = self._prompt_share(conversation, prompt) if share is None else share
        if share is not None and (shorter := self._shorter_prompt(conversation, prompt, share)):
            conversation, cut = shorter
            where.append(cut)
        if where:
            encoded = self._encode(conversation)
            if isinstance(encoded, RowError):
                return encoded
            tokens = encoded
        if self._exceeds(tokens):
            fitted = self._from_the_right(tokens, conversation, prompt)
            if isinstance(fitted, RowError):
                return fitted
            tokens, where = fitted.tokens, [*where, fitted.where]
        return Fitted(tokens, length - len(tokens.input_ids), " and ".join(where))

    def _from_turn(self, conversation: Conversation, start: int, prompt: int) -> tuple[Conversation, int]:
        """The conversation without the turns before ``start``, and how many of its messages must stay."""
        messages, tools = conversation
        begins = leading(messages)
        if not start:
            return conversation, prompt
        return ([*messages[:begins], *messages[start:]], tools), prompt - min(prompt, start - begins)

    def _prompt_share(self, conversation: Conversation, prompt: int) -> int | None:
        """How many tokens the prompt of the first answer may keep, so that this has ``ROOM``; ``None``: all of them."""
        messages, tools = conversation
        at = self._first_answer(messages, prompt)
        if at == len(messages):
            return None
        try:
            before = len(self.template.encode_prompt(messages[:at], tools=tools))
        except RowError:
            return None
        encoded = [self._encode(([*messages[:at], m], tools)) for m in (messages[at], outlines_of(messages[at])[0][1])]
        whole, least = (0 if isinstance(tokens, RowError) else len(tokens.input_ids) - before for tokens in encoded)
        needed = min(whole, max(least, int(self.cutoff_len * ROOM)))
        return self.cutoff_len - needed if before + needed > self.cutoff_len else None

    def _shorter_prompt(self, conversation: Conversation, prompt: int, share: int) -> tuple[Conversation, str] | None:
        """The conversation with the longest texts before the answer cut to one length, and a word for it.

        ``None`` where no cut makes it fit.
        """
        messages, tools = conversation
        at = self._first_answer(messages, prompt)
        texts = {i: m["content"] for i, m in enumerate(messages[:at]) if m["role"] != "system" and m.get("content")}
        lengths = {i: len(text) for i, text in texts.items() if isinstance(text, str)}

        def cut_to(letters: int) -> list[Message]:
            out = list(messages)
            for i in lengths:
                out[i] = {**messages[i], "content": str(texts[i])[:letters]}
            return out

        def too_long(letters: int) -> bool:
            return len(self.template.encode_prompt(cut_to(letters + 1)[:at], tools=tools)) > share

        longest = max(lengths.values(), default=0)
        letters = first(too_long, longest)
        if not 0 < letters < longest:
            return None
        return (cut_to(letters), tools), "the ends of the prompt's texts"

    def _first_answer(self, messages: Sequence[Message], prompt: int) -> int:
        """Where the first answer stands that carries loss; the end where there is none."""
        return next(iter(self._answers(messages, prompt)), len(messages))

    def _answers(self, messages: Sequence[Message], prompt: int) -> list[int]:
        """Where the answers stand that carry loss and are not part of the prompt."""
        answers = [i for i, m in enumerate(messages) if i >= prompt and m["role"] == "assistant" and m.get("weight", 1)]
        return answers[-1:] if self.train_on == "last" else answers

    def _exceeds(self, tokens: Tokens) -> bool:
        return len(tokens.input_ids) > self.cutoff_len

    def _with_loss(self, fitted: Fitted | RowError) -> Fitted | RowError:
        # Nothing predicts the first token, so its weight does not help.
        if isinstance(fitted, RowError) or any(fitted.tokens.weights[1:]):
            return fitted
        return RowError("no token carries loss")

    def _encode(self, conversation: Conversation) -> Tokens | RowError:
        return self.template.encode([conversation], train_on=self.train_on)[0]

    def _start(self, conversation: Conversation, prompt: int) -> int:
        """The first user turn from which on it fits, or else the last one; 0 where there is but one."""
        messages, tools = conversation
        end = prompt or len(messages)
        begins = leading(messages)
        starts = [i for i in range(begins + 1, end) if messages[i]["role"] == "user"]

        def fits(i: int) -> bool:
            tokens = self._encode(([*messages[:begins], *messages[starts[i] :]], tools))
            return not isinstance(tokens, RowError) and not self._exceeds(tokens)

        return starts[min(first(fits, len(starts)), len(starts) - 1)] if starts else 0

    def _from_the_right(self, tokens: Tokens, conversation: Conversation, prompt: int) -> Fitted | RowError:
        """Up to the last answer that has room, its text cut where it has not enough."""
        messages, tools = conversation
        answers = self._answers(messages, prompt)

        @cache
        def outline(n: int) -> tuple[Message, Tokens] | None:
            return self._outline(messages[: answers[n] + 1], tools)

        kept = first(lambda n: outline(n) is None, len(answers))
        for n in reversed(range(kept)):
            answer, outlined = outline(n)  # type: ignore[misc]
            if fitted := self._up_to(answers[n], answer, outlined, tokens, conversation):
                return fitted
        return RowError(f"no room for the first answer in cutoff_len={self.cutoff_len} tokens")

    def _up_to(
        self, i: int, answer: Message, outline: Tokens, tokens: Tokens, conversation: Conversation
    ) -> Fitted | RowError | None:
        """Up to turn ``i``, of which ``answer`` is left; ``None`` where no character of it has room."""
        messages, tools = conversation
        last = i == len(messages) - 1 and answer is messages[i]
        whole = tokens if last else self._encode(([*messages[:i], answer], tools))
        if isinstance(whole, RowError):
            return whole
        where = [f"the end of turn {i + 1}"] if self._exceeds(whole) or answer is not messages[i] else []
        if rest := len(messages) - 1 - i:
            where.append(f"{rest} turns at the end")
        cut = spliced(whole, outline, self.cutoff_len, self.template) if self._exceeds(whole) else whole
        return None if cut is None else Fitted(cut, where=" and ".join(where))

    def _outline(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]
    ) -> tuple[Message, Tokens] | None:
        """The last answer, and the conversation with hardly anything of it; ``None`` where even that does not fit."""
        for answer, outline in outlines_of(messages[-1]):
            tokens = self._encode(([*messages[:-1], outline], tools))
            if not isinstance(tokens, RowError) and not self._exceeds(tokens):
                return answer, tokens
        return None


def leading(messages: Sequence[Message]) -> int:
    """How many system turns a conversation begins with: they belong to every part of it."""
    return len(list(takewhile(lambda message: message["role"] == "system", messages)))


def first(holds: Callable[[int], bool], count: int) -> int:
    """The first of ``count`` numbers for which it holds, and for all after it; ``count`` where there is none."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
