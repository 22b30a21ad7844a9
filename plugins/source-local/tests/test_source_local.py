"""Local files: every value comes back as it was, and a broken file is named with its line."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from ft_plugin_source_local import plugin
from ft_plugin_source_local.files import data_files, first_columns
from ft_plugin_source_local.source import read_files
from ft_plugin_source_local.table import AT, CHUNK, to_table
from ftk.contracts import DatasetSpec
from ftk.problems import RunError
from ftk_sdk.contracts import PluginContract, SourceContract
from ftk_sdk.testing import make_run

CONVERSATION = [
    {"messages": [{"role": "assistant", "tool_calls": [{"name": "f", "arguments": {"a": 1, "b": None}}]}], "n": 1},
    {"messages": [{"role": "assistant", "tool_calls": [{"name": "g", "arguments": {"c": [2, "x"]}}]}], "n": 2},
    {"messages": [{"role": "user", "content": "text"}, {"role": "user", "content": [{"type": "text"}]}], "n": None},
]


class TestPlugin(PluginContract):
    plugin = plugin


class TestJson(SourceContract):
    component = "source:local"

    def write(self, folder, rows):
        path = folder / "rows.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)))
        return str(path)


class TestCsv(SourceContract):
    component = "source:local"

    def write(self, folder, rows):
        path = folder / "rows.csv"
        with open(path, "w", newline="") as f:
            writer = csv.DictWriter(f, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
        return str(path)


class TestParquet(SourceContract):
    component = "source:local"

    def write(self, folder, rows):
        path = folder / "rows.parquet"
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
        return str(path)


def read(path):
    """Rows as their file has them: JSON columns decoded, the places left out."""
    table = read_files(data_files(path))
    columns = {}
    for name in table.column_names:
        values = table.column(name).to_pylist()
        is_json = isinstance(table.column(name).type, pa.JsonType)
        columns[name] = [json.loads(v) if is_json and v is not None else v for v in values]
    places = columns.pop(AT, None)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)], places


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("a.json", json.dumps(CONVERSATION), [1, 1, 1]),
        ("a.jsonl", "\n\n".join(map(json.dumps, CONVERSATION)) + "\n", [1, 3, 5]),
        ("a.json", "\n".join(map(json.dumps, CONVERSATION)), [1, 2, 3]),
        ("a.jsonl", "[\n" + ",\n".join(map(json.dumps, CONVERSATION)) + "\n]", [2, 3, 4]),
        ("a.json", b"\xef\xbb\xbf" + json.dumps(CONVERSATION).encode(), [1, 1, 1]),
    ],
)
def test_mixed_and_nested_values_come_back_exactly_with_their_lines(tmp_path, name, content, lines):
    rows, places = read(write(tmp_path / name, content))
    assert rows == CONVERSATION
    assert places == [f"{name}:{line}" for line in lines]


@pytest.mark.parametrize("indent", [None, 1])
def test_rows_under_data_are_found_and_numbered(tmp_path, indent):
    rows, places = read(write(tmp_path / "a.json", json.dumps({"data": CONVERSATION}, indent=indent)))
    assert rows == CONVERSATION
    assert places == ["a.json row 1", "a.json row 2", "a.json row 3"]


def test_a_column_named_data_does_not_make_a_file_of_lines_an_object(tmp_path):
    rows = [{"data": [1]}, {"data": [2]}]
    assert read(write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows))))[0] == rows


def test_types_that_change_in_a_later_chunk_still_come_back_exactly():
    values = ["text"] * CHUNK + [{"a": None}] * CHUNK + [None] * CHUNK + [2**70, 1.5]
    table = to_table((str(i), {"x": value, "flag": True}) for i, value in enumerate(values))
    assert [v if v is None else json.loads(v) for v in table["x"].to_pylist()] == values
    assert table["flag"].type == pa.bool_()


def test_a_column_that_comes_late_or_is_never_filled_is_empty_text(tmp_path):
    table = to_table([("1", {"a": "x", "c": None}), ("2", {"a": "y", "b": "z"})])
    assert table.to_pylist() == [{"a": "x", "c": None, "b": None, AT: "1"}, {"a": "y", "c": None, "b": "z", AT: "2"}]


def test_numbers_in_csv_stay_text_and_quoted_cells_may_hold_anything(tmp_path):
    long = "z" * 300_000
    path = write(tmp_path / "a.csv", f'instruction,output\n"1, 2",42\r\n"line\nbreak ""x""",\n\n{long},b\n')
    rows, places = read(path)
    assert rows == [
        {"instruction": "1, 2", "output": "42"},
        {"instruction": 'line\nbreak "x"', "output": ""},
        {"instruction": long, "output": "b"},
    ]
    assert places == ["a.csv:2", "a.csv:4", "a.csv:6"]


def test_a_text_file_is_one_document_a_line_without_the_blank_ones(tmp_path):
    rows, places = read(write(tmp_path / "a.txt", "one\r\n\n  \n two\u2028still two \nthree"))
    assert rows == [{"text": "one"}, {"text": " two\u2028still two "}, {"text": "three"}]
    assert places == ["a.txt:1", "a.txt:4", "a.txt:5"]


def test_a_line_of_many_megabytes_is_read(tmp_path):
    rows, _ = read(write(tmp_path / "a.jsonl", json.dumps({"text": "x" * 20_000_000}) + '\n{"text": "y"}'))
    assert [len(row["text"]) for row in rows] == [20_000_000, 1]


def test_parquet_and_arrow_keep_their_types(tmp_path):
    table = pa.table({"a": ["x", "y"], "n": pa.array([1, 2], pa.int8()), "c": pa.array(["u", "u"]).dictionary_encode()})
    pq.write_table(table, tmp_path / "a.parquet")
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as f, pa.ipc.new_file(f, table.schema) as writer:
        writer.write_table(table)
    Dataset.from_dict({"a": ["x", "y"]}).save_to_disk(str(tmp_path / "saved"))
    assert read(tmp_path / "a.parquet")[0] == read(tmp_path / "a.arrow")[0] == table.to_pylist()
    assert read(tmp_path / "saved")[0] == [{"a": "x"}, {"a": "y"}]


def test_a_folder_is_its_files_in_the_order_of_their_names(tmp_path):
    write(tmp_path / "b.jsonl", '{"a": 2}\n{"b": "new"}')
    write(tmp_path / "a.json", '[{"a": 1}]')
    write(tmp_path / ".hidden.csv", "x")
    write(tmp_path / "README.md", "x")
    (tmp_path / "sub").mkdir()
    rows, places = read(tmp_path)
    assert rows == [{"a": 1, "b": None}, {"a": 2, "b": None}, {"a": None, "b": "new"}]
    assert places == ["a.json:1", "b.jsonl:1", "b.jsonl:2"]


BROKEN = [
    ("a.json", "", "no rows"),
    ("a.json", " \n\n", "no rows"),
    ("a.json", "[]", "no rows"),
    ("a.json", '{"data": []}', "no rows"),
    ("a.csv", "", "no rows"),
    ("a.csv", "a,b\n", "no rows"),
    ("a.txt", "\n \n", "no rows"),
    ("a.json", '[\n{"a": 1},\n{"a": ', "a.json:3: the JSON ends in the middle of a value"),
    ("a.json", '[{"a": "b"},\n{"a": "cut off her', "a.json:2: the JSON ends in the middle of a value"),
    ("a.jsonl", '{"a": 1}\n{"a": [2', "a.jsonl:2: the JSON ends in the middle of a value"),
    ("a.jsonl", '{"a": 1}\n\n{"a" 2}', "a.jsonl:3: broken JSON at column 6: expecting ':' delimiter, near '{\"a\" 2}'"),
    ("a.json", '[{"a": 1}\n{"a": 2}]', "a.json:2: broken JSON at column 1: ',' or ']' expected"),
    ("a.json", '[{"a": 1}] [', "a.json:1: broken JSON at column 12: more text after the end of the list"),
    ("a.json", '[{"a": 1},]', "a.json:1: broken JSON at column 11: expecting value"),
    ("a.jsonl", '{"a": 1} {"a": 2}', "a.jsonl:1: broken JSON at column 10: extra data"),
    ("a.json", '[\n{"a": 1},\n"b"]', "a.json:3: the row is a string, not an object"),
    ("a.jsonl", '{"a": 1}\n[2]', "a.jsonl:2: the row is a list, not an object"),
    ("a.json", '{"data": [{"a": 1}, null]}', "a.json:1: row 2 is null, not an object"),
    ("a.json", '{\n"a": 1\n}', "holds one object, not rows"),
    ("a.json", "17", "the row is a number, not an object"),
    ("a.json", "[" + '{"a":' * 100_000, "a.json:1: nested too deeply"),
    ("a.jsonl", '{"a": 1}\n{"a": ' + "1" * 5000 + "}", "a.jsonl:2: a number has too many digits"),
    ("a.jsonl", b'{"a": "x"}\n{"a": "caf\xe9"}', "a.jsonl:2: byte 0xe9 at offset 21 is not UTF-8"),
    ("a.csv", b"\xef\xbb\xbfa,b\nx,\xff\n", "a.csv:2: byte 0xff at offset 9 is not UTF-8"),
    ("a.json", '[{"a": 1}]'.encode("utf-16"), "the file is UTF-16, not UTF-8"),
    (
        "a.jsonl",
        '{"a": "\\ud83d\\ude00"}\n{"a": ["\\ud83d"]}',
        "a.jsonl:2: column 'a' holds '\\ud83d', half of a character",
    ),
    ("a.jsonl", '{"a": "x"}\n{"a": "\\ude00"}', "a.jsonl:2: column 'a' holds '\\ude00', half of a character"),
    ("a.csv", "a,b\n1,2\n3\n", "a.csv:3: 1 cells, but the header has 2"),
    ("a.csv", 'a,b\n1,2\n"3,4\n', "a.csv:3: 1 cells, but the header has 2"),
    ("a.csv", "a,b,a\n1,2,3\n", "a.csv:1: the header names 'a' twice"),
    ("a.parquet", b"PAR1 and then nothing", "a.parquet: broken parquet file"),
    ("a.parquet", b"", "a.parquet: broken parquet file"),
    ("a.arrow", b"\x00\x01", "a.arrow: broken arrow file"),
    ("a.arrow", b"ARROW1 no", "a.arrow: broken arrow file"),
    ("a.yaml", "a: 1", "unknown file type '.yaml'"),
]


@pytest.mark.parametrize(("name", "content", "message"), BROKEN)
def test_a_broken_file_is_one_clear_error(tmp_path, name, content, message):
    path = write(tmp_path / name, content)
    with pytest.raises(RunError) as error:
        read(path)
    assert message in str(error.value)
    assert str(path.parent) in str(error.value) or "half of a character" in message


def test_folders_without_files_of_one_type_are_refused(tmp_path):
    with pytest.raises(RunError, match="no such file or folder"):
        data_files(tmp_path / "absent")
    with pytest.raises(RunError, match="no data files in this folder"):
        data_files(tmp_path)
    write(tmp_path / "a.json", "[]")
    write(tmp_path / "b.csv", "a")
    with pytest.raises(RunError, match=r"several types: json \(a.json\) and csv \(b.csv\)"):
        data_files(tmp_path)


def test_parquet_files_that_disagree_are_named_with_the_column(tmp_path):
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": ["1"]}), tmp_path / "2.parquet")
    with pytest.raises(RunError, match="column 'a' is int64 in 1.parquet, and string in 2.parquet"):
        read(tmp_path)


def test_the_columns_of_the_first_rows_are_told_without_reading_the_rest(tmp_path):
    good = "\n".join(['{"a": 1}', '{"b": 2}'] + ['{"c": 3}'] * 30)
    assert first_columns(write(tmp_path / "a.jsonl", good + "\nbroken")) == ["a", "b", "c"]
    assert first_columns(write(tmp_path / "a.txt", "x")) == ["text"]
    assert first_columns(write(tmp_path / "a.parquet", "")) is None


def test_the_component_opens_a_file_as_a_dataset(tmp_path):
    write(tmp_path / "a.jsonl", '{"a": {"x": null}}\n{"a": "y"}')
    run = make_run({"output_dir": str(tmp_path / "out")}, components=["source:local"])
    spec = DatasetSpec(name="a", source="local", location=str(tmp_path / "a.jsonl"), formatting="alpaca")
    data = run.open_source(spec)
    assert [row["a"] for row in data] == [{"x": None}, "y"]
    spec = DatasetSpec(name="a", source="local", location=spec.location, formatting="alpaca", split="test")
    with pytest.raises(RunError, match="local files have no splits"):
        run.open_source(spec)
