"""Whatever the data is, it is used, or left out and counted, or refused in words: no traceback, no row lost."""

import csv
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ft_plugin_data.truncation import Fitting
from ft_plugin_sft.stage import SftEncoder
from ftk.contracts import DatasetSpec
from ftk.problems import FtkError
from ftk_sdk.testing import make_run
from ftk_sdk.tiny import tiny_tokenizer

from .conftest import COMPONENTS

FORMATS = ("alpaca", "openai", "sharegpt")
NAMES = (
    *("instruction", "input", "output", "system", "history", "tools", "chosen", "rejected", "kto_tag", "label"),
    *("messages", "conversations", "prompt", "completion", "text", "images", "extra"),
)
KEYS = ("role", "content", "from", "value", "type", "text", "tool_calls", "function", "name", "arguments", "weight")
WORDS = (
    "user",
    "assistant",
    "human",
    "gpt",
    "tool",
    "system",
    "function_call",
    "text",
    "f",
    "[]",
    "{}",
    "[[1]]",
    "null",
    "true",
)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.sampled_from(WORDS),
    st.text(st.characters(codec="utf-8"), max_size=8),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)),
    max_leaves=12,
)
TURNS = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(WORDS[:6]),
            "content": VALUES,
            "from": st.sampled_from(WORDS[:7]),
            "value": VALUES,
        },
        optional={"tool_calls": VALUES, "weight": SCALARS, "reasoning_content": SCALARS, "name": SCALARS},
    ),
    max_size=4,
)
ROWS = st.lists(
    st.dictionaries(st.sampled_from(NAMES), st.one_of(VALUES, TURNS, st.just("fine words")), max_size=5),
    min_size=1,
    max_size=4,
)
SETTINGS = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def encoder():
    tokenizer = tiny_tokenizer()
    template = make_run({"template": "chatml"}, components=["template:chatml"]).load_template(tokenizer)
    return SftEncoder(tokenizer, Fitting(template, cutoff_len=64))


def account(encoder, data: bytes, name: str, **entry):
    """The ledger of a file with these bytes, or the refusal."""
    with TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(data)
        info = {"d": {"file_name": name, **entry}}
        (Path(folder) / "dataset_info.json").write_text(json.dumps(info))
        keys = {"dataset": "d", "dataset_dir": folder, "output_dir": f"{folder}/out", "max_drop": None}
        try:
            make_run(keys, components=COMPONENTS).load_dataset("train", encoder)
        except FtkError as e:
            assert str(e).strip()
        written = Path(folder) / "out" / "ledger.json"
        return json.loads(written.read_text())["train"][0] if written.exists() else None


def check(found, rows=None):
    if found is not None:
        assert found["rows"] == found["kept"] + found["dropped"]
        assert found["dropped"] == sum(reason["rows"] for reason in found["reasons"])
        assert rows is None or found["rows"] == rows


@SETTINGS
@given(rows=ROWS, formatting=st.sampled_from(FORMATS), ranking=st.booleans())
def test_rows_of_any_types_are_all_accounted_for(encoder, rows, formatting, ranking):
    data = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode("utf-8", "replace")
    found = account(encoder, data, "d.jsonl", formatting=formatting, ranking=ranking)
    check(found, len(rows))


@SETTINGS
@given(rows=ROWS, formatting=st.sampled_from(FORMATS), data=st.data(), kind=st.sampled_from(["jsonl", "json", "csv"]))
def test_broken_text_files_lose_no_row(encoder, rows, formatting, data, kind):
    check(account(encoder, mutated(data, written(rows, kind)), f"d.{kind}", formatting=formatting))


@SETTINGS
@given(rows=ROWS, formatting=st.sampled_from(FORMATS), data=st.data(), kind=st.sampled_from(["parquet", "arrow"]))
def test_broken_binary_files_lose_no_row(encoder, rows, formatting, data, kind):
    check(account(encoder, mutated(data, written(rows, kind)), f"d.{kind}", formatting=formatting))


@SETTINGS
@given(columns=st.dictionaries(st.text(max_size=8), SCALARS, max_size=3), tags=VALUES, more=VALUES)
def test_entries_that_say_anything_are_refused_in_words(encoder, columns, tags, more):
    entry = {"columns": columns, "tags": tags, "formatting": "sharegpt", "ranking": more, "num_samples": more}
    check(account(encoder, b'{"instruction": "a", "output": "b"}', "d.jsonl", **entry))


@SETTINGS
@given(row=st.dictionaries(st.sampled_from(NAMES), st.one_of(VALUES, TURNS), max_size=6), ranking=st.booleans())
def test_formats_raise_nothing_but_row_errors(row, ranking):
    for name in FORMATS:
        spec = DatasetSpec(name="d", source="local", location="", formatting=name, ranking=ranking)
        read = make_run({}, components=[f"format:{name}"]).formatter(spec)
        try:
            read(row)
        except ValueError as e:
            assert type(e).__name__ == "RowError", f"{name}: {e!r}"


def written(rows, kind) -> bytes:
    if kind == "csv":
        names = list(dict.fromkeys(name for row in rows for name in row)) or ["text"]
        file = io.StringIO()
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
        return file.getvalue().encode("utf-8", "replace")
    if kind in ("json", "jsonl"):
        texts = [json.dumps(row) for row in rows]
        return ("[" + ",\n".join(texts) + "]" if kind == "json" else "\n".join(texts)).encode()
    texts = pa.Table.from_pylist([{name: str(value) for name, value in row.items()} or {"text": "x"} for row in rows])
    buffer = pa.BufferOutputStream()
    if kind == "parquet":
        pq.write_table(texts, buffer)
    else:
        with pa.ipc.new_stream(buffer, texts.schema) as stream:
            stream.write_table(texts)
    return buffer.getvalue().to_pybytes()


def mutated(data, text: bytes) -> bytes:
    """The bytes with a few of them changed, left out, or written twice."""
    changed = bytearray(text)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, max(len(changed) - 1, 0)))
        how = data.draw(st.sampled_from(["set", "cut", "insert", "double"]))
        if how == "set" and changed:
            changed[at] = data.draw(st.integers(0, 255))
        elif how == "cut":
            del changed[at : at + data.draw(st.integers(1, 40))]
        elif how == "insert":
            changed[at:at] = data.draw(st.sampled_from([b"\x00", b"\xff", b'"', b"{", b"]", b"\n", b",", b"\xf0\x9f"]))
        else:
            changed[at:at] = changed[at : at + 20]
    return bytes(changed)
