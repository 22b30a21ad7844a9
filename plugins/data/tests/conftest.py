"""An encoder of words, and runs over small files."""

import json
from collections.abc import Sequence

import pytest

from ftk.contracts import Encoded, Example
from ftk.problems import RowError
from ftk_sdk.testing import make_run

COMPONENTS = ["source:local", "format:alpaca", "format:openai", "format:sharegpt", "dataset:map"]


class WordEncoder:
    """A token is the length of a word; the answer carries loss. "bad" in an answer is an error of the encoder."""

    def __init__(self, cutoff_len: int = 100, name: str = "words") -> None:
        self.cutoff_len, self.fingerprint = cutoff_len, f"{name}-{cutoff_len}"

    def encode(self, examples: Sequence[Example]) -> list[list[Encoded] | RowError]:
        return [self._encode(example) for example in examples]

    def _encode(self, example: Example) -> list[Encoded] | RowError:
        prompt = [] if example.text is not None else example.messages[0]["content"].split()
        answer = (example.text or example.messages[-1]["content"]).split()
        if "bad" in answer:
            return RowError(f"word {answer.index('bad') + 1}: a bad word")
        ids = [len(word) for word in [*prompt, *answer]]
        labels = [-100] * len(prompt) + ids[len(prompt) :]
        cut = max(0, len(ids) - self.cutoff_len)
        columns = {"input_ids": ids[: self.cutoff_len], "labels": labels[: self.cutoff_len], "weights": None}
        return [Encoded(columns, truncated=cut)]


class Unused(WordEncoder):
    """The same encoder to look at, but it must not be called."""

    def encode(self, examples):
        raise AssertionError("encoded again")


@pytest.fixture
def encoder():
    return WordEncoder()


@pytest.fixture
def folder(tmp_path):
    """A dataset_dir; ``folder.write`` puts rows and an entry of dataset_info.json into it."""
    return Folder(tmp_path / "data", tmp_path / "out")


class Folder:
    def __init__(self, path, out) -> None:
        self.path, self.out, self.entries = path, out, {}
        path.mkdir()

    def write(self, name: str, rows: list, *, entry: dict | None = None):
        file = self.path / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.register(name, {"file_name": file.name, **(entry or {})})
        return file

    def register(self, name: str, entry: object) -> None:
        self.entries[name] = entry
        (self.path / "dataset_info.json").write_text(json.dumps(self.entries, indent=1))

    def run(self, **keys):
        keys = {"dataset_dir": str(self.path), "output_dir": str(self.out), "max_drop": None, **keys}
        return make_run(keys, components=COMPONENTS)

    def load(self, encoder, split="train", **keys):
        return self.run(**keys).load_dataset(split, encoder)


def row(number: int, answer: str = "x") -> dict:
    """An alpaca row whose first token is its number."""
    return {"instruction": "w" * number, "output": answer}


def first_tokens(data) -> list[int]:
    return [ids[0] for ids in data["input_ids"]]
