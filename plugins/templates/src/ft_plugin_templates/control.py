"""Token ids of rendered text in which control tokens that a user wrote stay text.

Before rendering, each such literal is replaced by a private-use character, which a copy of the tokenizer knows as one
token; after tokenising, that token is replaced by the ids of the literal as plain text. One pass, whatever a row holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import tokenizers

from ftk.problems import RunError

from .words import WordTokenizer

CUT = ""
"""A literal of no ids: where it stands, no token reaches across."""

# Plane 15 is private: no tokenizer's control token and no text meant for others is in it. A user's own characters from
# there are literals like any other.
_FIRST, _LAST = "\U000f0000", "\U000ffffd"
_SENTINEL = re.compile(f"[{_FIRST}-{_LAST}]")


class ControlText:
    """Knows a tokenizer's control tokens, and tokenises text around those that users wrote.

    Control tokens are the tokenizer's special tokens and, in what users and tools say, also the other added tokens that
    the template writes (``<tool_response>``). Answers and system prompts may hold the latter as what they are: thoughts
    and tool calls that a data set brings already written out.
    """

    def __init__(self, tokenizer: Any, jinja: str) -> None:
        if not getattr(tokenizer, "is_fast", False):
            message = f"templates need a tokenizer of the tokenizers library, and {type(tokenizer).__name__} is none"
            raise RunError(message, "convert it, or set use_fast_tokenizer: true")
        self._tokenizer = tokenizer
        added = [t for t in tokenizer.added_tokens_decoder.values() if t.content.strip()]
        special = [t.content for t in added if t.special]
        written = [t.content for t in added if not t.special and t.content in jinja]
        self._special = _pattern(special)
        self._all = _pattern(special + written)
        self._sentinels: dict[str, str] = {}
        self._ids: dict[int, list[int]] = {}
        self._copy: tokenizers.Tokenizer | None = None
        self._words: WordTokenizer | None = None
        self._looked = False

    def __getstate__(self) -> dict[str, Any]:
        # Sentinels are given out in the order in which literals turn up, so they belong to the copy.
        return self.__dict__ | {"_copy": None, "_words": None, "_looked": False, "_sentinels": {}, "_ids": {}}

    def protect_message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The message with a sentinel in place of each control token in its text."""
        pattern = self._all if message["role"] in ("user", "tool") else self._special
        return {key: value if key == "role" else self._protect(value, pattern) for key, value in message.items()}

    def protect_tool(self, tool: Mapping[str, Any]) -> dict[str, Any]:
        return self._protect(tool, self._all)

    def _protect(self, value: Any, pattern: re.Pattern[str]) -> Any:
        if isinstance(value, str):
            return pattern.sub(lambda m: self.sentinel(m[0]), value) if pattern.search(value) else value
        if isinstance(value, Mapping):
            return {self._protect(k, pattern): self._protect(v, pattern) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._protect(v, pattern) for v in value]
        return value

    def reveal(self, text: str) -> str:
        """The text with the literals put back."""
        literals = {sentinel: literal for literal, sentinel in self._sentinels.items()}
        return _SENTINEL.sub(lambda m: literals[m[0]], text) if literals else text

    def sentinel(self, literal: str) -> str:
        """The character that stands for a literal."""
        if literal not in self._sentinels:
            character = chr(ord(_FIRST) + len(self._sentinels))
            if character > _LAST:
                raise RunError("more than 65,000 different private-use characters in the data", "remove them")
            backend = self._backend()
            backend.add_special_tokens([tokenizers.AddedToken(character, normalized=False, special=True)])
            self._sentinels[literal] = character
            self._ids[backend.token_to_id(character)] = self._plain(literal)
        return self._sentinels[literal]

    def encode(self, texts: Sequence[str]) -> list[tokenizers.Encoding]:
        """Tokenise in one batch; ids of sentinels are still in place (``splice``)."""
        return self._backend().encode_batch(list(texts), add_special_tokens=False)

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def by_words(self, text: str, cuts: Sequence[int]) -> tuple[list[int], list[int]] | None:
        """The ids and which of them begin at the cuts, as ``WordTokenizer`` has them; None: ``encode`` must do it."""
        if not self._looked:
            self._words, self._looked = WordTokenizer.of(self._backend()), True
        return self._words and self._words.encode(text, cuts)

    def splice(self, ids: list[int], weights: list[float]) -> tuple[list[int], list[float]]:
        """Put the ids of the literals, as plain text, where their sentinels are."""
        if self._ids.keys().isdisjoint(ids):
            return ids, weights
        out_ids: list[int] = []
        out_weights: list[float] = []
        for token, weight in zip(ids, weights, strict=True):
            plain = self._ids.get(token, [token])
            out_ids += plain
            out_weights += [weight] * len(plain)
        return out_ids, out_weights

    def _backend(self) -> tokenizers.Tokenizer:
        """A copy of the tokenizer's own: it gets tokens of ours, and its offsets must not be trimmed."""
        if self._copy is None:
            self._copy = tokenizers.Tokenizer.from_str(self._tokenizer.backend_tokenizer.to_str())
            self._copy.post_processor = None
            self._copy.no_truncation()
            self._copy.no_padding()
        return self._copy

    def _plain(self, literal: str) -> list[int]:
        """Ids of the literal as text: what the model sees when a user spells a control token."""
        control = self._tokenizer.added_tokens_encoder.get(literal)
        # After a newline, because some tokenizers put a space before the first word of a text.
        start, ids = self._pieces("\n"), self._pieces("\n" + literal)
        ids = ids[len(start) :] if ids[: len(start)] == start else self._pieces(literal)
        if control not in ids or len(literal) < 2:
            return ids
        return self._plain(literal[:1]) + self._plain(literal[1:])

    def _pieces(self, text: str) -> list[int]:
        """Ids without any added token: the tokenizer's own steps, one by one."""
        backend = self._backend()
        if backend.normalizer is not None:
            text = backend.normalizer.normalize_str(text)
        words = [text]
        if backend.pre_tokenizer is not None:
            words = [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(text)]
        return [token.id for word in words for token in backend.model.tokenize(word)]


def _pattern(words: Sequence[str]) -> re.Pattern[str]:
    """Matches any of the words, the longest that fits, and any private-use character of plane 15."""
    return re.compile("|".join(filter(None, [_trie(sorted(set(words))), _SENTINEL.pattern])))


def _trie(words: Sequence[str]) -> str:
    """A regular expression that tells thousands of words with common beginnings apart without trying each."""
    heads: dict[str, list[str]] = {}
    for word in words:
        heads.setdefault(word[:1], []).append(word[1:])
    is_whole = heads.pop("", None) is not None
    branches = [re.escape(head) + _trie(tails) for head, tails in heads.items()]
    if not branches:
        return ""
    body = branches[0] if len(branches) == 1 and not is_whole else f"(?:{'|'.join(branches)})"
    return body + "?" if is_whole else body
