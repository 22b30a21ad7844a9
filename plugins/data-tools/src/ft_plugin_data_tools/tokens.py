"""A collated batch, token by token: what it says of each, whatever the stage."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ft_plugin_trainer.targets import IGNORE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IDS = re.compile(r"(|.+_)(?:input_ids|(?<=prompt_)ids)")
"""Names of columns of token ids; what they begin with, the other columns of a group begin with too."""
INCOMPLETE = "\ufffd"
"""What a decoder writes for bytes that are not yet a character."""
PADDING = "padding"
"""Name of the segment that is none."""
CHARACTER = 4
"""Bytes of the longest character: tokens that make none together are taken one by one."""
VISIBLE = {" ": "\u00b7", "\n": "\u23ce", "\t": "\u21e5", "\r": "\u240d"}
HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs")
"""Unicode categories of what a terminal would not show, or would obey."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """One sequence of a batch. Every list has one entry for each token."""

    name: str
    """Prefix of its columns in the batch: ``""``, ``"chosen_"``, ..."""
    ids: list[int]
    columns: Mapping[str, list[Any]]
    """Every column of the batch that has an entry for each token."""
    facts: Mapping[str, Any]
    """What the batch says of the sequence as a whole, and the shapes of what it says otherwise."""
    text: list[str]
    """Joined, the decoded whole. A token that ends within a character has no text; the one that completes it has."""
    weights: list[float]
    """Loss weight of the token as a target: 0 where it is none."""
    control: list[bool]
    padding: list[bool]
    parts: list[str]
    """What the token belongs to: ``"document 2"`` of a packed row, ``"chosen"`` of a pair, ``""`` of others."""

    def __len__(self) -> int:
        return len(self.text)

    @property
    def trained(self) -> int:
        return sum(weight != 0 for weight in self.weights)

    @property
    def real(self) -> int:
        """Tokens that are no padding."""
        return len(self) - sum(self.padding)


def sequences_of(
    batch: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, segments: Sequence[str] = ()
) -> Iterator[TokenRow]:
    """The sequences of a batch, in order. Each column ``...input_ids`` of shape (B, T) begins a group of columns.

    ``segments`` are the names of the numbers in a column ``segments``, which say what each token belongs to.
    """
    tensors = {name: value for name, value in batch.items() if isinstance(value, torch.Tensor)}
    ids = {m[1]: value for name, value in tensors.items() if (m := IDS.fullmatch(name)) and value.dim() == 2}
    groups: dict[str, list[str]] = {prefix: [] for prefix in ids}
    for name, value in tensors.items():
        owner = max((prefix for prefix in ids if name.startswith(prefix)), key=len, default=None)
        if owner is not None and value.shape == ids[owner].shape:
            groups[owner].append(name)
    grouped = {name for names in groups.values() for name in names}
    others = {name: value for name, value in batch.items() if name not in grouped}
    for row in range(max(map(len, ids.values()), default=0)):
        for prefix, names in groups.items():
            if row < (count := len(ids[prefix])):
                columns = {name: tensors[name][row].tolist() for name in names}
                facts = _facts(others, row, count)
                yield _sequence(prefix, ids[prefix][row].tolist(), columns, facts, tokenizer, segments)


def _facts(others: Mapping[str, Any], row: int, count: int) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for name, value in others.items():
        if isinstance(value, torch.Tensor):
            facts[name] = value[row].item() if value.shape == (count,) else f"shape {tuple(value.shape)}"
        elif isinstance(value, (list, tuple)) and len(value) == count:
            facts[name] = value[row]
        else:
            facts[name] = value
    return facts


def _sequence(
    prefix: str,
    ids: list[int],
    columns: Mapping[str, list[Any]],
    facts: Mapping[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    segments: Sequence[str],
) -> TokenRow:
    labels = columns.get(f"{prefix}labels")
    weights = columns.get(f"{prefix}weights") or [1.0] * len(ids)
    # Nothing predicts the first token, whatever its label.
    targets = [i > 0 and label != IGNORE for i, label in enumerate(labels)] if labels else [False] * len(ids)
    names = [_name(number, segments) for number in columns.get(f"{prefix}segments", [])]
    padding = [name == PADDING for name in names] or _padding(prefix, ids, columns, tokenizer.pad_token_id)
    control = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    return TokenRow(
        name=prefix,
        ids=ids,
        columns=columns,
        facts=facts,
        text=spelt(ids, lambda part: str(tokenizer.decode(part, clean_up_tokenization_spaces=False))),
        weights=[weight * target for weight, target in zip(weights, targets, strict=True)],
        control=[token in control for token in ids],
        padding=padding,
        parts=names or _documents(columns.get(f"{prefix}position_ids"), padding),
    )


def _padding(prefix: str, ids: list[int], columns: Mapping[str, list[Any]], pad: int | None) -> list[bool]:
    """By the mask; without one, in rows that tell documents by their positions, the last document if it only pads."""
    positions = columns.get(f"{prefix}position_ids")
    if mask := columns.get(f"{prefix}attention_mask") or columns.get(f"{prefix}mask"):
        return [not seen for seen in mask]
    if positions is None or pad is None:
        return [False] * len(ids)
    start = max((i for i, position in enumerate(positions) if position == 0), default=0)
    labels = columns.get(f"{prefix}labels") or [IGNORE] * len(ids)
    pads = start > 0 and all(t == pad and label == IGNORE for t, label in zip(ids[start:], labels[start:], strict=True))
    return [pads and i >= start for i in range(len(ids))]


def _name(number: int, segments: Sequence[str]) -> str:
    return segments[number] if 0 <= number < len(segments) else f"segment {number}"


def _documents(positions: list[int] | None, padding: Sequence[bool]) -> list[str]:
    """A document begins where positions begin anew."""
    if positions is None:
        return [""] * len(padding)
    number, last, out = 1, -1, []
    for position, padded in zip(positions, padding, strict=True):
        if not padded:
            number += position <= last
            last = position
        out.append(f"document {number}")
    return out if number > 1 else [""] * len(padding)


def spelt(ids: Sequence[int], decode: Callable[[list[int]], str]) -> list[str]:
    """The text of each token, decoded beside its left neighbour, on which spaces and parts of characters depend."""
    out: list[str] = []
    before: list[int] = []
    new: list[int] = []
    said = ""
    for token in ids:
        new.append(token)
        text = decode(before + new)
        if text.endswith(INCOMPLETE) and len(new) < CHARACTER:
            out.append("")
            continue
        out.append(text[len(said) :])
        before, new = new, []
        said = decode(before)
    if new:  # the row ends within a character
        out[-1] = decode(before + new)[len(said) :]
    return out


def visible(text: str) -> str:
    """Text in which every character can be seen, and none does anything to a terminal."""
    return "".join(VISIBLE.get(c) or (_escaped(c) if unicodedata.category(c) in HIDDEN else c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
