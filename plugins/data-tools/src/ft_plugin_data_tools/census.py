"""What an encoder is given and what it makes of it, counted in passing."""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from ft_plugin_trainer.targets import IGNORE
from ftk.contracts import Encoded, Encoder, Example, Message
from ftk.problems import RowError

HAN_AND_KANA = "Han and Kana"
SCRIPTS = {"Cjk": "Han", "Hiragana": HAN_AND_KANA, "Katakana": HAN_AND_KANA, "Fullwidth": "Latin"}
"""First word of a letter's Unicode name -> script, where it is not the script's name."""
SAME_BUT_FOR = re.compile(r"[\W_]+")
"""What two prompts may differ in and still be nearly the same."""


class Census:
    """An encoder in whose place it stands, for one process."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.fingerprint = f"{encoder.fingerprint}, counted"
        self.lengths: list[int] = []
        """Tokens of each sequence as it is trained on."""
        self.uncut: list[int] = []
        """Tokens of each sequence before anything was cut off."""
        self.targets: list[int] = []
        """Tokens of each sequence that carry loss; empty where rows have no labels."""
        self.copies: Counter[int] = Counter()
        """Hash of what is encoded -> how often it occurs."""
        self.prompts: Counter[int] = Counter()
        """Hash of a prompt, without case and punctuation -> how often it occurs."""
        self.scripts: Counter[str] = Counter()
        """Main script of a row -> rows."""
        self.splits = False
        """A text that is too long becomes several sequences."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode(self, examples: Sequence[Example]) -> list[list[Encoded] | RowError]:
        results = self._encoder.encode(examples)
        for example, result in zip(examples, results, strict=True):
            if not isinstance(result, RowError) and result:
                self._example(example)
                self._encoded(result)
        return results

    def _example(self, example: Example) -> None:
        self.scripts[main_script("".join(_texts([*example.messages, *example.chosen], example.text)))] += 1
        if example.messages:
            asked = example.messages if example.chosen else before_last_answer(example.messages)
            prompt = SAME_BUT_FOR.sub(" ", " ".join(_texts(asked, None))).strip().casefold()
            self.prompts[hash(prompt)] += 1

    def _encoded(self, sequences: Sequence[Encoded]) -> None:
        self.splits |= len(sequences) > 1
        whole = []
        for sequence in sequences:
            columns = sequence.columns
            names = [name for name in columns if name.endswith("input_ids")]
            # What the answers of a pair share, unless there is nothing but prompts.
            prompt = columns.get("prompt_input_ids", []) if len(names) > 1 else []
            lengths = sorted(len(prompt) + len(columns[name]) for name in names if columns[name] is not prompt)
            self.lengths += lengths
            # Of a pair it is not said which of the two was cut: the longer one, most likely.
            self.uncut += [*lengths[:-1], *(length + sequence.truncated for length in lengths[-1:])]
            for name in columns:
                if name.endswith("labels") and isinstance(columns[name], list):
                    # Nothing predicts the first token of all.
                    labels = columns[name] if prompt else columns[name][1:]
                    self.targets.append(sum(label != IGNORE for label in labels))
            whole += [array("q", columns[name]).tobytes() for name in names]
        self.copies[hash(b"|".join(whole))] += 1


def before_last_answer(messages: Sequence[Message]) -> Sequence[Message]:
    answers = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    return messages[: answers[-1]] if answers else messages


def repeated(counted: Counter[int]) -> int:
    """How many have been there before."""
    return sum(n - 1 for n in counted.values())


def _texts(messages: Sequence[Message], text: str | None) -> Iterator[str]:
    yield text or ""
    for message in messages:
        content = message.get("content") or ""
        yield content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def main_script(text: str) -> str:
    """The script of most of its letters; scripts, not languages, because that takes no guessing."""
    if text.isascii():
        return "Latin" if any(map(str.isalpha, text)) else "no letters"
    scripts: Counter[str] = Counter()
    for character, n in Counter(text).items():
        if character.isalpha():
            scripts[_script(character)] += n
    if not scripts:
        return "no letters"
    if scripts[HAN_AND_KANA]:
        scripts[HAN_AND_KANA] += scripts.pop("Han", 0)
    return max(scripts, key=lambda name: scripts[name])


@cache
def _script(letter: str) -> str:
    word = unicodedata.name(letter, "Other").partition(" ")[0].title()
    return SCRIPTS.get(word, word)
