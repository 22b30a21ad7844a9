"""What holds for every template of a pack, tried without a vendor's tokenizer: subclass ``PackContract`` in a test."""

from __future__ import annotations

import hashlib
import inspect
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ftk.contracts import Tokens
from ftk.problems import RowError

from .battery import BATTERY
from .engine import ChatTemplate
from .originals import alike, find_originals
from .pack import Facts, Original, names, read
from .probe import end_of_turn

OPEN, CLOSE = "{+", "+}"
"""Around what carries loss in a golden file."""
SPELLED_OUT = 26
"""So many conversations of the battery stand in golden files, for people to read; of the others a hash does."""


def tokenizer_for(facts: Facts) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer without merges that knows the template's stop strings as special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({character: i for i, character in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(stop, special=True) for stop in facts.stop])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


@dataclass(frozen=True)
class Tried:
    """A template, and what it makes of the battery."""

    facts: Facts
    tokenizer: PreTrainedTokenizerFast
    template: ChatTemplate
    texts: Mapping[str, str]
    """Renderings, with ``refused: reason`` for those that it refuses."""
    rows: Mapping[str, Tokens | RowError]
    pieces: Mapping[str, list[tuple[str, bool]]]
    """The text of each conversation that is not refused, cut where loss begins or ends."""

    def trained(self, title: str) -> list[str]:
        """The stretches of a conversation that carry loss."""
        return [text for text, carries in self.pieces[title] if carries]


@cache
def try_out(package: str, name: str) -> Tried:
    """Each conversation is rendered once for all that is checked."""
    facts = read(package, name)
    tokenizer = tokenizer_for(facts)
    template = ChatTemplate(facts, tokenizer)
    texts = {}
    for title, (messages, tools) in BATTERY.items():
        try:
            texts[title] = template.render(messages, tools=tools)
        except RowError as e:
            texts[title] = f"refused: {e}"
    rows = dict(zip(BATTERY, template.encode(list(BATTERY.values())), strict=True))
    pieces = {title: _pieces(tokenizer, row) for title, row in rows.items()}
    return Tried(facts, tokenizer, template, texts, rows, pieces)


def _pieces(tokenizer: PreTrainedTokenizerFast, row: Tokens | RowError) -> list[tuple[str, bool]]:
    if isinstance(row, RowError):
        return []
    runs = groupby(zip(row.input_ids, row.weights, strict=True), key=lambda pair: pair[1] > 0)
    return [(tokenizer.decode([token for token, _ in run]), carries) for carries, run in runs]


@cache
def own_templates(package: str) -> list[Facts]:
    """Those of a pack that are not another's name."""
    return [facts for facts in (read(package, name) for name in names(package)) if not facts.is_alias]


def golden(package: str, name: str) -> str:
    """The battery as the template renders it, with ``{+`` and ``+}`` around what carries loss."""
    tried, out = try_out(package, name), []
    for number, title in enumerate(BATTERY):
        row = tried.rows[title]
        pieces = tried.pieces[title] or [(tried.texts[title], False)]
        text = "".join(OPEN + piece + CLOSE if carries else piece for piece, carries in pieces)
        if isinstance(row, RowError) and BATTERY[title][0][-1]["role"] == "assistant":
            text = f"refused: {row}"
        if number < SPELLED_OUT:
            out.append(f"== {title}\n{text}\n")
        else:
            out.append(f"== {title}: {hashlib.sha256(text.encode()).hexdigest()[:16]}\n")
    return "".join(out).encode("ascii", "backslashreplace").decode()


class PackContract:
    """Inherit it in a test file that has a folder ``golden`` beside it, and set ``plugin``."""

    plugin: ClassVar[ModuleType]
    """The pack's ``plugin.py``."""
    ends_once: ClassVar[Collection[str]] = ()
    """Templates that end an earlier answer with a token that the model must not learn to write."""

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """One test for each template that is no alias, and for each original that this machine has."""
        own, wanted = own_templates(self.plugin.__package__ or ""), metafunc.fixturenames
        if "original" in wanted:
            pairs = [(facts.name, o) for facts in own for o in facts.originals if o.sha256 in find_originals()]
            metafunc.parametrize(("name", "original"), pairs, ids=[f"{name}-{o.sha256[:8]}" for name, o in pairs])
        elif "name" in wanted:
            # What is like another template in its Jinja text obeys the laws that the other obeys.
            is_law = not metafunc.function.__name__.startswith(("test_it_renders", "test_its_facts"))
            metafunc.parametrize("name", [facts.name for facts in own if not (is_law and facts.like)])

    def tried(self, name: str) -> Tried:
        return try_out(self.plugin.__package__ or "", name)

    def as_the_vendor_takes_it(self, name: str, messages: list[dict], tools: list[dict]) -> list[dict]:
        """Messages in the form that the original of a template reads: for packs to override."""
        return messages

    def test_it_renders_what_its_golden_file_says(self, name):
        """``FTK_WRITE_GOLDEN=1`` writes the file, for its author to read."""
        path = Path(inspect.getfile(type(self))).parent / "golden" / f"{name}.txt"
        made = golden(self.plugin.__package__ or "", name)
        if os.environ.get("FTK_WRITE_GOLDEN"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(made, encoding="ascii", newline="\n")
        assert path.exists(), f"{path} is missing: run once with FTK_WRITE_GOLDEN=1, read what it wrote, and commit it"
        assert made == path.read_text(encoding="ascii")

    def test_its_facts_are_what_it_does(self, name):
        tried = self.tried(name)
        facts, texts = tried.facts, tried.texts
        renders = {title: not texts[title].startswith("refused: ") for title in ("tool", "thought")}
        assert end_of_turn(tried.template, tried.tokenizer) in tried.template.stop
        assert "generation" in facts.chat_template, "mark what carries loss with generation and endgeneration"
        assert bool(facts.tool_parser) == renders["tool"], "tool_parser is a name if it renders tool calls"
        assert bool(facts.thought) == renders["thought"], "thought is given if it renders reasoning_content"
        if facts.thought:
            text = texts["thoughts in two turns"]
            assert ("Easy one" in text) == (facts.thought.earlier == "kept"), "thought.earlier is not what it does"
            assert facts.thought.open in text
            assert facts.thought.close in text

    def test_answers_carry_loss_to_their_end_and_nothing_else_does(self, name):
        tried = self.tried(name)
        for title, (messages, _) in BATTERY.items():
            trained, answers = tried.trained(title), [m for m in messages if m["role"] == "assistant"]
            if not trained:
                continue
            assert len(trained) >= len(answers), f"{title!r}: an answer carries no loss"
            for number, (answer, said) in enumerate(zip(answers, trained, strict=False), start=1):
                assert answer["content"].split("</think>")[-1].strip() in said, f"{title!r}: part of an answer"
                if name not in self.ends_once or number == len(answers):
                    assert said.rstrip().endswith(tuple(tried.template.stop)), f"{title!r}: its end carries no loss"
            # A control token may spell one of the short texts of the battery.
            said = re.sub("|".join(map(re.escape, tried.template.stop)), "", "\n".join(trained))
            for message in messages:
                if message["role"] != "assistant" and message["content"].strip():
                    assert message["content"].strip() not in said, f"{title!r}: a prompt"

    def test_what_carries_loss_and_what_does_not_are_its_text(self, name):
        tried = self.tried(name)
        for title in BATTERY:
            if pieces := tried.pieces[title]:
                assert "".join(text for text, _ in pieces) == tried.texts[title], title

    def test_a_prompt_is_what_the_answer_follows_in_training(self, name):
        tried = self.tried(name)
        for title, (messages, tools) in BATTERY.items():
            row = tried.rows[title]
            if isinstance(row, RowError) or messages[-1]["role"] != "assistant":
                continue
            prompt = tried.template.encode_prompt(messages[:-1], tools=tools) if messages[:-1] else []
            assert row.input_ids[: len(prompt)] == prompt, f"{title!r}: trained after another prompt"
            assert all(row.weights[len(prompt) :]), f"{title!r}: part of an answer carries no loss"

    def test_a_saved_tokenizer_gives_the_same_tokens_and_the_same_mask(self, name):
        tried = self.tried(name)
        tokenizer = tokenizer_for(tried.facts)
        tokenizer.chat_template = tried.template.jinja
        for title, (messages, tools) in BATTERY.items():
            row, spelled = tried.rows[title], any(stop in str(messages) for stop in tried.template.stop)
            if isinstance(row, Tokens) and not spelled:
                out: Any = tokenizer.apply_chat_template(
                    messages, tools=tools or None, return_assistant_tokens_mask=True
                )
                assert out["input_ids"] == row.input_ids, title
                assert out["assistant_masks"] == [int(weight > 0) for weight in row.weights], title

    def test_control_tokens_that_are_spelled_stay_text(self, name):
        tried = self.tried(name)
        control = set(tried.tokenizer.added_tokens_decoder)
        for literal in tried.template.stop:
            plain, spelled = tried.template.encode(
                [
                    ([{"role": "user", "content": f"a{x}b"}, {"role": "assistant", "content": f"c{x}d"}], ())
                    for x in ("", literal)
                ]
            )
            assert [i for i in plain.input_ids if i in control] == [i for i in spelled.input_ids if i in control]
            assert tried.tokenizer.decode(spelled.input_ids).count(f"a{literal}b") == 1

    def test_it_writes_what_the_original_writes(self, name, original: Original):
        tried = self.tried(name)
        same, different = alike(tried.facts, tried.tokenizer, original, reform=self.as_the_vendor_takes_it)
        assert not different, f"{next(iter(different))!r}: {next(iter(different.values()))}"
        assert len(same) == original.alike, f"alike = {len(same)}, not {original.alike}"
