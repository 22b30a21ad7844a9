"""A template and a tokenizer's own, token for token, over the battery."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import AutoTokenizer

from ftk.cli.table import table
from ftk.contracts import Tokens
from ftk.problems import RowError, RunError

from .battery import BATTERY, CONTROL
from .engine import ChatTemplate
from .load import own_template
from .pack import Facts
from .probe import end_of_turn

SAME, DIFFERS, REFUSED, ONLY_HERE, TRAINS = "same", "differs", "refused", "only here", "trains"
PLAIN = ("one turn", "two turns")
"""What every template must be able to train on."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one conversation."""

    title: str
    outcome: str
    detail: str = ""


@dataclass(slots=True)
class Report:
    """What was found. ``ok``: nothing differs, and it can train."""

    template: str
    against: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.faults and all(v.outcome != DIFFERS for v in self.verdicts)

    def text(self) -> str:
        counts = Counter(v.outcome for v in self.verdicts)
        summary = ", ".join(f"{number} {outcome}" for outcome, number in counts.most_common())
        parts = [
            table(self.facts, indent=""),
            table([(v.title, v.outcome, v.detail) for v in self.verdicts], indent=""),
        ]
        ends = [f"fault: {fault}" for fault in self.faults]
        # In full, as the table cuts lines.
        ends += [f"first difference: {v.title!r}, {v.detail}" for v in self.verdicts if v.outcome == DIFFERS][:1]
        return "\n\n".join(parts) + "\n\n" + "\n".join([*ends, f"{self.template} and {self.against}: {summary}"])


def check(place: str, facts: Facts | None) -> Report:
    """Compare the template with the own one of the tokenizer in ``place``; without facts, try the own one.

    Raises RunError where there is no tokenizer, or none with a template.
    """
    tokenizer = _load(place)
    own = own_template(tokenizer)
    if own is None:
        raise RunError(f"the tokenizer in {place} has no chat template", "there is nothing to compare with")
    if facts is None:
        template = ChatTemplate(own[0], tokenizer, marks=own[1])
        report = Report("auto", place, _facts(template, tokenizer))
        report.verdicts = [_trained(template, tokenizer, title) for title in BATTERY]
    else:
        template = ChatTemplate(facts, tokenizer)
        report = Report(facts.name, place, _facts(template, tokenizer))
        report.verdicts = compare(template, tokenizer)
    report.faults = _faults(template, tokenizer)
    return report


def compare(template: ChatTemplate, tokenizer: Any) -> list[Verdict]:
    """The battery by the template and by the tokenizer's own, whole and as prompts."""
    return [_compared(template, tokenizer, title) for title in BATTERY]


def _load(place: str) -> Any:
    try:
        return AutoTokenizer.from_pretrained(place)
    except Exception as e:  # transformers raises what its parts raise
        reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        raise RunError(f"no tokenizer can be loaded from {place}: {reason}", "name a folder that holds one") from e


def _facts(template: ChatTemplate, tokenizer: Any) -> list[tuple[str, str]]:
    known = own_template(tokenizer)
    marked = "its own marks" if template.is_marked else "turn by turn"
    if template.facts.name == "auto" and known and known[1]:
        marked = f"marks of {known[1].name!r}, which was compared with it"
    pad = repr(tokenizer.pad_token)
    if tokenizer.pad_token in template.stop:
        pad += ", which ends a turn too: padding is told by lengths, so the end is trained all the same"
    return [("answers told by", marked), ("stops", ", ".join(map(repr, template.stop))), ("pad", pad)]


def _faults(template: ChatTemplate, tokenizer: Any) -> list[str]:
    """What makes it unfit to train: no trained end, two BOS, plain conversations refused, forged control tokens."""
    try:
        end_of_turn(template, tokenizer)
    except RunError as e:
        return [str(e)]
    rows = template.encode([BATTERY[title] for title in PLAIN])
    faults = [f"{title!r} is refused: {r}" for title, r in zip(PLAIN, rows, strict=True) if isinstance(r, RowError)]
    special = set(tokenizer.all_special_ids)
    plain, spelled = (
        [i for i in template.encode_prompt([{"role": "user", "content": text}]) if i in special]
        for text in ("x", CONTROL)
    )
    return faults if spelled == plain else [*faults, "control tokens that a user spells do not stay text"]


def _trained(template: ChatTemplate, tokenizer: Any, title: str) -> Verdict:
    (row,) = template.encode([BATTERY[title]])
    if not isinstance(row, Tokens):
        return Verdict(title, REFUSED, str(row))
    carrying = [token for token, weight in zip(row.input_ids, row.weights, strict=True) if weight]
    end = tokenizer.decode(carrying[-3:])
    return Verdict(title, TRAINS, f"{len(carrying)} of {len(row.weights)} tokens, the last of them {end!r}")


def _compared(template: ChatTemplate, tokenizer: Any, title: str) -> Verdict:
    messages, tools = BATTERY[title]
    answered = messages[-1]["role"] == "assistant" and len(messages) > 1
    try:
        template.weighted(messages, tools, "last")
        (whole,) = template.encode([(messages, tools)], train_on="all")
        prompt = template.encode_prompt(messages[:-1] if answered else messages, tools=tools)
    except RowError as e:
        return Verdict(title, REFUSED, str(e))
    if isinstance(whole, RowError):
        return Verdict(title, REFUSED, str(whole))
    try:
        theirs = _own_tokens(tokenizer, messages, tools, False)
        asked = _own_tokens(tokenizer, messages[:-1] if answered else messages, tools, True)
    except Exception as e:  # somebody's program: that it fails on this is itself the finding
        return Verdict(title, ONLY_HERE, f"the tokenizer's own: {e}")
    for what, ours, other in (("whole", whole.input_ids, theirs), ("as a prompt", prompt, asked)):
        if ours != other:
            return Verdict(title, DIFFERS, f"{what}, {first_gap(tokenizer, ours, other)}")
    return Verdict(title, SAME, f"{len(theirs)} tokens")


def _own_tokens(tokenizer: Any, messages: Sequence[dict], tools: Sequence[dict], asked: bool) -> list[int]:
    """By transformers; what a user spells is sanitised there only on request."""
    spells = any(CONTROL in str(m["content"]) for m in messages)
    return tokenizer.apply_chat_template(
        list(messages),
        tools=list(tools) or None,
        add_generation_prompt=asked,
        sanitize_control_tokens=spells,
        return_dict=False,
    )


def first_gap(tokenizer: Any, ours: Sequence[int], theirs: Sequence[int]) -> str:
    """The first token in which two sequences part, and the text before it."""
    same = [a == b for a, b in zip(ours, theirs, strict=False)]
    at = same.index(False) if False in same else len(same)
    here, there = (repr(tokenizer.decode(ids[at : at + 1])) if ids[at:] else "the end" for ids in (ours, theirs))
    return f"token {at}: {here} here, {there} there, after {tokenizer.decode(ours[max(at - 12, 0) : at])!r}"
