"""What holds for every template of a pack: functions for the tests of packs. They need no tokenizer of a vendor."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ftk.contracts import Tokens
from ftk.problems import RowError

from .battery import BATTERY
from .engine import ChatTemplate
from .pack import Facts, read
from .probe import end_of_turn

OPEN, CLOSE = "{+", "+}"
"""Around what carries loss in a golden file."""


def tokenizer_for(facts: Facts) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer without merges that knows the template's stop strings as special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({character: i for i, character in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(stop, special=True) for stop in facts.stop])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def golden(facts: Facts) -> str:
    """Every conversation of the battery as the template renders it, with ``{+`` and ``+}`` around what carries loss."""
    template = ChatTemplate(facts, tokenizer_for(facts))
    out = []
    for name, (messages, tools) in BATTERY.items():
        try:
            text = template.render(messages, tools=tools)
            for start, end in reversed(_trained(template, messages, tools)):
                text = text[:start] + OPEN + text[start:end] + CLOSE + text[end:]
        except RowError as e:
            text = f"refused: {e}"
        out.append(f"== {name}\n{text}\n")
    return "".join(out).encode("ascii", "backslashreplace").decode()


def check_golden(package: str, name: str, folder: Path) -> None:
    """It renders what its golden file says. ``FTK_WRITE_GOLDEN=1`` writes the file, for its author to read."""
    facts = read(package, read(package, name).alias_of or name)
    path = folder / f"{facts.name}.txt"
    if os.environ.get("FTK_WRITE_GOLDEN"):
        path.write_text(golden(facts), encoding="ascii", newline="\n")
    assert path.exists(), f"{path} is missing: run once with FTK_WRITE_GOLDEN=1, read what it wrote, and commit it"
    assert golden(facts) == path.read_text(encoding="ascii")


def check_facts(package: str, name: str) -> None:
    """What the file says about the template is what the template does."""
    facts = read(package, name)
    template = ChatTemplate(facts, tokenizer_for(facts))
    assert end_of_turn(template, tokenizer_for(facts)) in template.stop
    assert "generation" in facts.chat_template, f"{name}: mark what carries loss with generation and endgeneration"
    assert bool(facts.tool_parser) == _renders(template, "tool"), (
        f"{name}: tool_parser is a name if it renders tool calls"
    )
    assert bool(facts.thought) == _renders(template, "thought"), (
        f"{name}: thought is given if it renders reasoning_content"
    )
    if facts.thought:
        text = template.render(BATTERY["thoughts in two turns"][0])
        assert ("Easy one" in text) == (facts.thought.earlier == "kept"), f"{name}: thought.earlier is not what it does"
        assert facts.thought.open in text
        assert facts.thought.close in text


def check_masks(package: str, name: str) -> None:
    """Answers carry loss to their last token, and nothing else does."""
    facts = read(package, name)
    template = ChatTemplate(facts, tokenizer_for(facts))
    for title, (messages, tools) in BATTERY.items():
        try:
            text = template.render(messages, tools=tools)
            trained = [text[start:end] for start, end in _trained(template, messages, tools)]
        except RowError:
            continue
        answers = [m for m in messages if m["role"] == "assistant"]
        assert len(trained) >= len(answers), f"{name}, {title!r}: an answer carries no loss"
        for answer, said in zip(answers, trained, strict=False):
            assert answer["content"].split("</think>")[-1].strip() in said, f"{name}, {title!r}: part of an answer"
            assert said.rstrip().endswith(tuple(template.stop)), f"{name}, {title!r}: its end carries no loss"
        # A control token may spell one of the short texts of the battery.
        said = re.sub("|".join(map(re.escape, template.stop)), "", "\n".join(trained))
        for message in messages:
            if message["role"] != "assistant" and message["content"].strip():
                assert message["content"].strip() not in said, f"{name}, {title!r}: a prompt"


def check_prompts(package: str, name: str) -> None:
    """The prompt that a model is given in chat is how its answer was introduced in training."""
    facts = read(package, name)
    template = ChatTemplate(facts, tokenizer_for(facts))
    for title, (messages, tools) in BATTERY.items():
        if len(messages) < 2 or messages[-1]["role"] != "assistant":
            continue
        try:
            (row,) = template.encode([(messages, tools)], train_on="last")
            prompt = template.encode_prompt(messages[:-1], tools=tools)
        except RowError:
            continue
        if isinstance(row, Tokens):
            assert row.input_ids[: len(prompt)] == prompt, f"{name}, {title!r}: trained after another prompt"
            assert [bool(w) for w in row.weights] == [i >= len(prompt) for i in range(len(row.weights))]


def check_saved(package: str, name: str) -> None:
    """A tokenizer saved with the template gives transformers the same token ids and the same mask."""
    facts = read(package, name)
    tokenizer = tokenizer_for(facts)
    template = ChatTemplate(facts, tokenizer)
    tokenizer.chat_template = template.jinja
    for title, (messages, tools) in BATTERY.items():
        (row,) = template.encode([(messages, tools)])
        if isinstance(row, Tokens):
            out: Any = tokenizer.apply_chat_template(messages, tools=tools or None, return_assistant_tokens_mask=True)
            assert out["input_ids"] == row.input_ids, f"{name}, {title!r}"
            assert out["assistant_masks"] == [int(weight > 0) for weight in row.weights], f"{name}, {title!r}"


def check_control_tokens(package: str, name: str) -> None:
    """Control tokens that a user or a model spells are text."""
    facts = read(package, name)
    tokenizer = tokenizer_for(facts)
    template = ChatTemplate(facts, tokenizer)
    for literal in template.stop:
        plain, spelt = (
            template.encode(
                [([{"role": "user", "content": f"a{x}b"}, {"role": "assistant", "content": f"c{x}d"}], ())]
            )[0]
            for x in ("", literal)
        )
        control = set(tokenizer.added_tokens_decoder)
        assert [i for i in plain.input_ids if i in control] == [i for i in spelt.input_ids if i in control], name
        assert tokenizer.decode(spelt.input_ids).count(f"a{literal}b") == 1, name


CHECKS = (check_facts, check_masks, check_prompts, check_saved, check_control_tokens)
"""Each takes a package and the name of a template in it. ``check_golden`` wants the folder of golden files too."""


def _trained(template: ChatTemplate, messages: list[dict], tools: list[dict]) -> list[tuple[int, int]]:
    return [(start, end) for start, end, _ in template._weighted(messages, tools, "assistant")[1]]


def _renders(template: ChatTemplate, title: str) -> bool:
    messages, tools = BATTERY[title]
    try:
        return bool(template.render(messages, tools=tools))
    except RowError:
        return False
