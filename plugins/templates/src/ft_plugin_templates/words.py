"""Tokenising word by word, with the ids of every word remembered: several times as fast as the tokenizer itself.

A byte-level BPE tokenizer cuts a text at its added tokens, then by regular expressions into words, and merges within a
word alone; so what it makes of a word never changes. The expressions are the tokenizer's own. Whatever is not surely
cut alike here is left to the tokenizer.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import regex
import tokenizers

WORDS = 300_000
"""Words remembered, at most: some 100 MB."""
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""The expression that ``ByteLevel`` has built in."""
DIGITS = {True: r"\p{Nd}", False: r"\p{Nd}+"}
PRIVATE = "\U000f0000"
"""The first of the characters that stand for literals (``control``)."""

_ASCII = {
    "L": "A-Za-z",
    "Lu": "A-Z",
    "Ll": "a-z",
    "N": "0-9",
    "Nd": "0-9",
    "P": re.escape("!\"#%&'()*,-./:;?@[\\]_{}"),
    "S": re.escape("$+<=>^`|~"),
    **dict.fromkeys(("Lt", "Lm", "Lo", "M", "Mn", "Mc"), ""),
}
"""Members of Unicode's categories in ASCII, as in a bracket expression."""
_TOKEN = re.compile(r"\\[pP]\{(\w+)\}|\\.|\[\^?|.", re.DOTALL)

Splitter = Callable[[str], list[str]]


class Words(dict[str, tuple[int, ...]]):
    """Word -> its ids."""

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self._model = backend.model
        self._letters = byte_letters()

    def __missing__(self, word: str) -> tuple[int, ...]:
        mapped = "".join([self._letters[byte] for byte in word.encode()])
        ids = tuple(token.id for token in self._model.tokenize(mapped))
        if len(self) >= WORDS:
            self.clear()
        self[word] = ids
        return ids


class WordTokenizer:
    """The ids of texts. ``of`` makes one."""

    def __init__(self, backend: tokenizers.Tokenizer, patterns: Sequence[str], *, nfc: bool) -> None:
        self._backend, self._nfc = backend, nfc
        self._words = Words(backend)
        self._added = [
            (re.compile(f"({'|'.join(map(re.escape, sorted(group, key=len, reverse=True)))})"), group)
            for group in added_tokens(backend)
        ]
        self._ascii = [splitter(re.compile(ascii_pattern(p), re.ASCII)) for p in patterns]
        self._any = [splitter(regex.compile(p)) for p in patterns]
        self._known: dict[str, bool] = {}
        if not all(self._is_cut_alike(letter, self._ascii) for letter in map(chr, range(128))):
            raise Unfit("its expressions mean something else here")

    @classmethod
    def of(cls, backend: tokenizers.Tokenizer) -> WordTokenizer | None:
        """``None`` for a tokenizer of another kind."""
        try:
            return cls(backend, patterns_of(backend), nfc=normalizes(backend))
        except (Unfit, re.error, regex.error):
            return None

    def encode(self, text: str, cuts: Sequence[int]) -> tuple[list[int], list[int]] | None:
        """The ids of a text, and which of them begins at each of some positions, in ascending order.

        ``None`` where that is not sure, or where a position is within a word: ask the tokenizer.
        """
        if text.isascii():
            splitters = self._ascii
        elif self._knows(text):
            splitters = self._any
        else:
            return None
        ids: list[int] = []
        found: list[int] = []
        at = 0
        for piece, token in self._pieces(text):
            end = at + len(piece)
            while len(found) < len(cuts) and cuts[len(found)] == at:
                found.append(len(ids))
            inside = len(found) < len(cuts) and cuts[len(found)] < end
            if token is not None:
                ids.append(token)
            else:
                words = split(piece, splitters)
                if inside:
                    ids_before, where = self._located(words, at, [cut for cut in cuts[len(found) :] if cut < end])
                    if where is None:
                        return None
                    found += [len(ids) + n for n in where]
                    inside = False
                    ids += ids_before
                else:
                    ids += chain.from_iterable(map(self._words.__getitem__, words))
            if inside:
                return None
            at = end
        return ids, found + [len(ids)] * (len(cuts) - len(found))

    def _located(self, words: list[str], at: int, cuts: Sequence[int]) -> tuple[list[int], list[int] | None]:
        """The ids of words of which the first is at ``at``, and where the cuts are among them."""
        ids: list[int] = []
        found: list[int] = []
        for n, word in enumerate(words):
            while len(found) < len(cuts) and cuts[len(found)] == at:
                found.append(len(ids))
            if len(found) == len(cuts):
                ids += chain.from_iterable(map(self._words.__getitem__, words[n:]))
                return ids, found
            if cuts[len(found)] < at:
                return [], None
            ids += self._words[word]
            at += len(word)
        return ids, found if len(found) == len(cuts) else None

    def _pieces(self, text: str) -> list[tuple[str, int | None]]:
        """The text cut at added tokens; each with its id."""
        pieces: list[tuple[str, int | None]] = [(text, None)]
        for pattern, group in self._added:
            cut: list[tuple[str, int | None]] = []
            for piece, token in pieces:
                if token is not None:
                    cut.append((piece, token))
                    continue
                parts = pattern.split(piece)
                cut += [(part, group[part] if n % 2 else None) for n, part in enumerate(parts) if part]
            pieces = cut
        return pieces

    def _knows(self, text: str) -> bool:
        """Whether every character is cut alike here and by the tokenizer, whose Unicode may be another version's."""
        if self._nfc and not unicodedata.is_normalized("NFC", text):
            return False
        known = self._known
        letters = set(text)
        for letter in letters - known.keys():
            known[letter] = letter < PRIVATE and self._is_cut_alike(letter, self._any)
        return all(known[letter] for letter in letters)

    def _is_cut_alike(self, letter: str, splitters: Sequence[Splitter]) -> bool:
        c = letter
        probe = f"a{c}b {c} {c}{c}1{c}2.{c}. \n{c}\n {c}'s{c}  {c}A{c}\t{c}12345{c}" if c else ""
        there = [probe[start:end] for _, (start, end) in self._backend.pre_tokenizer.pre_tokenize_str(probe)]
        return split(probe, splitters) == there


class Unfit(ValueError):
    """A tokenizer that cannot be taken apart."""


def split(text: str, splitters: Sequence[Splitter]) -> list[str]:
    words = splitters[0](text)
    for splitter in splitters[1:]:
        words = [part for word in words for part in splitter(word)]
    return words


def splitter(pattern: Any) -> Splitter:
    """What finds all words of a text, where the expression leaves nothing out; else what is between them too."""
    if pattern.groups:
        raise Unfit("an expression has groups")
    if all(pattern.findall(letter) == [letter] for letter in map(chr, range(128))):
        return pattern.findall
    module = re if isinstance(pattern, re.Pattern) else regex
    whole = module.compile(f"({pattern.pattern})", re.ASCII if module is re else 0)
    return lambda text: [part for part in whole.split(text) if part]


def patterns_of(backend: tokenizers.Tokenizer) -> list[str]:
    """The expressions by which a byte-level BPE tokenizer cuts texts, in order. Raises Unfit."""
    model = backend.model
    if not isinstance(model, tokenizers.models.BPE) or model.dropout:
        raise Unfit("no BPE, or one that draws")
    if model.continuing_subword_prefix or model.end_of_word_suffix or backend.pre_tokenizer is None:
        raise Unfit("its words are marked")
    steps = state(backend.pre_tokenizer)
    steps = steps["pretokenizers"] if steps["type"] == "Sequence" else [steps]
    if not steps or steps[-1]["type"] != "ByteLevel" or any(step["type"] == "ByteLevel" for step in steps[:-1]):
        raise Unfit("its letters are no bytes")
    return [pattern for step in steps for pattern in _patterns(step)]


def _patterns(step: dict[str, Any]) -> list[str]:
    if step["type"] == "ByteLevel" and not step["add_prefix_space"]:
        return [GPT2] if step["use_regex"] else []
    if step["type"] == "Digits":
        return [DIGITS[step["individual_digits"]]]
    if step["type"] == "Split" and (step["behavior"], step["invert"]) in (("Isolated", False), ("Removed", True)):
        pattern = step["pattern"]
        return [pattern["Regex"] if "Regex" in pattern else re.escape(pattern["String"])]
    raise Unfit(step["type"])


def normalizes(backend: tokenizers.Tokenizer) -> bool:
    """Whether it brings text to the form NFC. Raises Unfit where it does anything else to it."""
    if backend.normalizer is None:
        return False
    steps = state(backend.normalizer)
    kinds = {step["type"] for step in (steps["normalizers"] if steps["type"] == "Sequence" else [steps])}
    if kinds - {"NFC"}:
        raise Unfit("it changes texts")
    return bool(kinds)


def added_tokens(backend: tokenizers.Tokenizer) -> list[dict[str, int]]:
    """The added tokens with their ids: those found first, then those found in what is left. Raises Unfit."""
    groups: list[dict[str, int]] = [{}, {}]
    for number, token in backend.get_added_tokens_decoder().items():
        if token.lstrip or token.rstrip or token.single_word:
            raise Unfit(f"{token.content!r} takes what is around it")
        if token.content[:1] < PRIVATE:
            groups[token.normalized][token.content] = number
    return [group for group in groups if group]


def state(part: Any) -> dict[str, Any]:
    """The settings of a part of a tokenizer, as in ``tokenizer.json``."""
    return json.loads(part.__getstate__())


def ascii_pattern(pattern: str) -> str:
    """What the expression means in ASCII, for the faster module ``re``. Raises Unfit where that cannot be said."""
    out, bracket = [], False
    for found in _TOKEN.finditer(pattern):
        token = found[0]
        if found[1]:
            if found[1] not in _ASCII or (token[1] == "P" and bracket):
                raise Unfit(token)
            members, negated = _ASCII[found[1]], token[1] == "P"
            if not bracket:
                members = f"[{'^' * negated}{members}]" if members else ("(?s:.)" if negated else "(?!)")
            out.append(members)
            continue
        if token.startswith("[") and bracket:
            raise Unfit("a set within a set")
        bracket = (bracket or token.startswith("[")) and token != "]"
        out.append(token)
    return "".join(out)


def byte_letters() -> list[str]:
    """The letter that byte-level tokenizers write for each byte (GPT-2's table)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in set(plain))
    table = {byte: chr(byte) for byte in plain} | {byte: chr(256 + n) for n, byte in enumerate(others)}
    return [table[byte] for byte in range(256)]
