"""Random data from a file to a batch: every row is accounted for, and what is trained is what the assistant says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftk.problems import RunError
from ftk_sdk.testing import make_run

END = "<|im_end|>\n"
TALK = list[tuple[str, str]]
"""(role, text) of each turn, whatever the format that it is written in."""

few = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    print_blob=True,
)
characters = st.characters(exclude_categories=["Cs"])
words = st.sampled_from(
    [
        "fox",
        "<|im_end|>",
        "<|im_start|>assistant\n",
        "</s>",
        "{{ x }}",
        "<think>",
        "\u4f60\u597d",
        "\U0001f9a6",
        "\n\n",
        "[INST]",
    ]
)
text = (
    st.lists(words | st.text(characters, min_size=1, max_size=8), min_size=1, max_size=3).map("".join).filter(str.strip)
)
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(characters, max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "from", "value", "type", "text", "name"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


@st.composite
def talks(draw, *, system: bool = True) -> TALK:
    out = [("system", draw(text))] if system and draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        out += [("user", draw(text)), ("assistant", draw(text))]
    return out


def alpaca(talk: TALK) -> dict[str, Any]:
    system = [said for role, said in talk if role == "system"]
    said = [said for role, said in talk if role != "system"]
    history = [[said[i], said[i + 1]] for i in range(0, len(said) - 2, 2)]
    return {"instruction": said[-2], "input": "", "output": said[-1], "history": history, "system": "".join(system)}


def sharegpt(talk: TALK) -> dict[str, Any]:
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    return {"conversations": [{"from": names[role], "value": said} for role, said in talk]}


def openai(talk: TALK) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": said} for role, said in talk]}


FORMATS: dict[str, Callable[[TALK], dict[str, Any]]] = {"alpaca": alpaca, "sharegpt": sharegpt, "openai": openai}


class Laboratory:
    """One run for many files: ``rows.jsonl`` of its folder is written anew for each."""

    def __init__(self, folder: Path, model: Path, columns: list[str], **keys: Any) -> None:
        self.file, self.out = folder / "rows.jsonl", folder / "out"
        self.file.write_text(json.dumps(dict.fromkeys(columns, "x")) + "\n")
        keys = {"template": "chatml", "max_drop": None, **keys}
        self.run = make_run(
            {"model_name_or_path": str(model), "dataset": str(self.file), "output_dir": str(self.out), **keys}
        )
        self.tokenizer = self.run.load_tokenizer()
        self.encoder = self.run.encoder(self.tokenizer, self.run.load_template(self.tokenizer))

    def load(self, rows: list[Any]) -> tuple[list[Any], dict[str, Any]]:
        """The training rows and the account. A file without a usable row is an error of one sentence, and no rows."""
        self.file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        try:
            data = self.run.load_dataset("train", self.encoder)
        except RunError as error:
            assert str(self.file) in str(error) or "rows.jsonl" in str(error)
            return [], {}
        ((account,),) = json.loads((self.out / "ledger.json").read_text()).values()
        assert account["rows"] == account["kept"] + account["dropped"] == len(rows)
        return [data[i] for i in range(len(data))], account

    def trained(self, row: Any) -> Iterator[str]:
        """What carries loss, by column of labels."""
        for name in sorted(row):
            if name.endswith("labels") and isinstance(row[name], list):
                yield self.tokenizer.decode([label for label in row[name] if label >= 0])

    def collated(self, row: Any) -> str:
        """What carries loss in the batch that the trainer is given."""
        labels = self.encoder.collate([row])["labels"].flatten()
        return self.tokenizer.decode(labels[labels >= 0].tolist())


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory, tiny_model_dir):
    made: dict[tuple, Laboratory] = {}

    def of(*columns: str, **keys: Any) -> Laboratory:
        key = (columns, *sorted(keys.items()))
        if key not in made:
            made[key] = Laboratory(tmp_path_factory.mktemp("fuzz"), tiny_model_dir, list(columns), **keys)
        return made[key]

    return of


def answers(talk: TALK) -> str:
    return "".join(said + END for role, said in talk if role == "assistant")


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_trained_is_what_the_assistant_says_and_its_end(laboratory, name):
    write = FORMATS[name]
    lab = laboratory(*write([("user", "x"), ("assistant", "x")]))
    control = lab.tokenizer.convert_tokens_to_ids("<|im_end|>")

    @few
    @given(st.lists(talks(), min_size=1, max_size=4))
    def check(talk):
        rows, account = lab.load([write(each) for each in talk])
        assert account["kept"] == len(rows) == len(talk)
        for row, each in zip(rows, talk, strict=True):
            assert list(lab.trained(row)) == [answers(each)] == [lab.collated(row)]
            assert row["input_ids"].count(control) == len(each), "text that spells a control token became one"

    check()


@pytest.mark.parametrize("name", FORMATS)
def test_whatever_a_file_holds_no_row_is_lost_and_nothing_breaks(laboratory, name):
    write = FORMATS[name]
    lab = laboratory(*write([("user", "x"), ("assistant", "x")]))

    def spoilt(row, column, value):
        return {**row, column: value}

    good = talks().map(write)
    columns = st.sampled_from([*write([("user", "x"), ("assistant", "x")]), "tools", "images", "system", "kto_tag"])
    bad = st.builds(spoilt, good, columns, junk) | st.dictionaries(columns, junk, max_size=3)

    @few
    @given(st.lists(good | bad, min_size=1, max_size=5))
    def check(rows):
        kept, account = lab.load(rows)
        assert len(kept) == (account["kept"] if account else 0)
        for row in kept:
            assert lab.collated(row).endswith(END)

    check()


@few
@given(st.lists(talks(), min_size=2, max_size=6), st.sampled_from([40, 60, 90]))
def test_what_is_cut_ends_as_it_should_and_is_counted(laboratory, talk, cutoff_len):
    lab = laboratory("messages", cutoff_len=cutoff_len)
    rows, account = lab.load([openai(each) for each in talk])
    said = "".join(map(answers, talk))
    for row in rows:
        assert len(row["input_ids"]) <= cutoff_len
        assert lab.collated(row).endswith(END)
        # What is left of an answer may end within a character.
        assert lab.collated(row).removesuffix(END).rstrip("\ufffd") in said
    assert (account.get("truncated", 0) > 0) == (account.get("truncated_tokens", 0) > 0)


@few
@given(st.lists(talks(), min_size=1, max_size=12))
def test_packing_loses_no_answer(laboratory, talk):
    lab = laboratory("messages", packing=True, cutoff_len=1024)
    rows, account = lab.load([openai(each) for each in talk])
    assert account["kept"] == len(talk) and account["truncated"] == 0
    assert sorted("".join(map(lab.collated, rows))) == sorted("".join(map(answers, talk)))


@few
@given(st.lists(talks(), min_size=2, max_size=12))
def test_held_back_and_trained_rows_are_all_rows(laboratory, talk):
    lab = laboratory("messages", val_size=1)
    rows, account = lab.load([openai(each) for each in talk])
    held_back = lab.run.load_dataset("eval", lab.encoder)
    assert len(rows) + len(held_back) == account["kept"] == len(talk)
    assert sorted([*map(lab.collated, rows), *map(lab.collated, held_back)]) == sorted(map(answers, talk))


@few
@given(st.lists(text, min_size=1, max_size=5), st.sampled_from([8, 24]))
def test_pretraining_trains_every_token_after_the_first_once(laboratory, texts, cutoff_len):
    lab = laboratory("text", stage="pt", cutoff_len=cutoff_len)
    rows, account = lab.load([{"text": each} for each in texts])
    targets = [label for row in rows for label in row["labels"][1:]]
    ids = [lab.tokenizer(each.removesuffix("<|im_end|>") + "<|im_end|>")["input_ids"] for each in texts]
    assert targets == [token for document in ids for token in document[1:]]
    assert account["kept"] == len(texts)


PAIRS = {
    "alpaca": lambda talk, good, bad: {"instruction": talk[-2][1], "chosen": good, "rejected": bad},
    "sharegpt": lambda talk, good, bad: {
        **sharegpt(talk[:-1]),
        "chosen": {"from": "gpt", "value": good},
        "rejected": {"from": "gpt", "value": bad},
    },
    "openai": lambda talk, good, bad: {
        "chosen": openai([*talk[:-1], ("assistant", good)])["messages"],
        "rejected": openai([*talk[:-1], ("assistant", bad)])["messages"],
    },
}


@pytest.mark.parametrize("name", PAIRS)
def test_of_pairs_both_answers_are_scored_and_nothing_else(laboratory, name):
    write = PAIRS[name]
    lab = laboratory(*write([("user", "x"), ("assistant", "x")], "x", "y"), stage="dpo")

    @few
    @given(st.lists(st.tuples(talks(system=False), text, text), min_size=1, max_size=4))
    def check(pairs):
        rows, account = lab.load([write(*pair) for pair in pairs])
        different = [(good, bad) for _, good, bad in pairs if good != bad]
        assert len(rows) == len(different) == account.get("kept", 0)
        for row, (good, bad) in zip(rows, different, strict=True):
            assert lab.collated(row) == good + END + bad + END

    check()


@few
@given(st.lists(st.tuples(talks(), st.booleans()), min_size=2, max_size=5))
def test_of_verdicts_the_last_answer_is_scored(laboratory, judged):
    lab = laboratory("messages", "kto_tag", stage="kto")
    rows, account = lab.load([{**openai(talk), "kto_tag": good} for talk, good in judged])
    if not rows:  # good and bad answers are needed
        return
    assert len(rows) == account["kept"] == len(judged)
    for row, (talk, good) in zip(rows, judged, strict=True):
        assert row["desirable"] is good
        assert next(iter(lab.trained(row))) == talk[-1][1] + END
