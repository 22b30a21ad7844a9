"""How near a text is to another one. All from 0 to 1, 1 for equal texts; words as ``words`` finds them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Hashable, Sequence

CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
"""Kana and ideographs, which are written without spaces."""
_WORD = re.compile(rf"[{CJK}]|[^\W{CJK}]+|[^\w\s]")


def words(text: str) -> list[str]:
    """Runs of letters and digits, single punctuation marks, and each kana or ideograph by itself; case kept."""
    return _WORD.findall(text)


def exact_match(predicted: str, wanted: str) -> float:
    """Whether the texts are the same but for white space around them."""
    return float(predicted.strip() == wanted.strip())


def bleu_4(predicted: Sequence[Hashable], wanted: Sequence[Hashable]) -> float:
    """BLEU of one sentence with up to four words at a time (Papineni et al. 2002).

    Counts of zero are smoothed as method 3 of Chen and Cherry (2014) does: 1/2, 1/4, ... in their place.
    """
    matches = [overlap(predicted, wanted, n) for n in range(1, 5)]
    if not matches[0]:
        return 0.0
    logarithms, zeros = [], 0
    for n, count in enumerate(matches, start=1):
        if not count:
            zeros += 1
        numerator = count or 2.0**-zeros
        logarithms.append(math.log(numerator / max(1, len(predicted) - n + 1)))
    brevity = min(0.0, 1 - len(wanted) / len(predicted))
    return math.exp(brevity + sum(logarithms) / 4)


def rouge_n(predicted: Sequence[Hashable], wanted: Sequence[Hashable], n: int) -> float:
    """ROUGE-N (Lin 2004) as F1: of n words at a time."""
    return f1(overlap(predicted, wanted, n), len(predicted) - n + 1, len(wanted) - n + 1)


def rouge_l(predicted: Sequence[Hashable], wanted: Sequence[Hashable]) -> float:
    """ROUGE-L (Lin 2004) as F1: of the longest common subsequence."""
    row = [0] * (len(wanted) + 1)
    for one in predicted:
        diagonal = 0
        for j, other in enumerate(wanted, start=1):
            diagonal, row[j] = row[j], diagonal + 1 if one == other else max(row[j], row[j - 1])
    return f1(row[-1], len(predicted), len(wanted))


def overlap(predicted: Sequence[Hashable], wanted: Sequence[Hashable], n: int) -> int:
    """How many sequences of ``n`` words both have, each as often as both have it."""
    one, other = (Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1)) for text in (predicted, wanted))
    return (one & other).total()


def f1(common: int, predicted: int, wanted: int) -> float:
    return 2 * common / (predicted + wanted) if common else 0.0


def scores(predicted: str, wanted: str) -> dict[str, float]:
    """All of them."""
    one, other = words(predicted), words(wanted)
    return {
        "bleu-4": bleu_4(one, other),
        "rouge-1": rouge_n(one, other, 1),
        "rouge-2": rouge_n(one, other, 2),
        "rouge-l": rouge_l(one, other),
        "exact-match": exact_match(predicted, wanted),
    }
