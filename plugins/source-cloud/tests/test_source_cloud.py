"""Files at addresses: of this machine, of memory, and of a server."""

import functools
import http.server
import json
import threading

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ft_plugin_source_cloud import plugin
from ftk.contracts import DatasetSpec
from ftk.problems import ConfigError, RunError
from ftk_sdk.contracts import PluginContract, SourceContract
from ftk_sdk.testing import make_plan, make_run

ROWS = [{"instruction": "hi", "output": "ho"}, {"instruction": "a", "output": "b"}]


class TestPlugin(PluginContract):
    plugin = plugin


class TestFiles(SourceContract):
    component = "source:cloud"

    def write(self, folder, rows):
        (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return (folder / "rows.jsonl").as_uri()


def opened(address, **more):
    spec = DatasetSpec(name="x", source="cloud", location=address, formatting="alpaca", **more)
    return make_run({}, components=["source:cloud"]).open_source(spec)


@pytest.fixture
def bucket(request):
    """A folder in the memory of fsspec."""
    system = fsspec.filesystem("memory")
    folder = f"/{request.node.name}"
    system.makedirs(folder, exist_ok=True)
    yield f"memory:/{folder}"
    system.rm(folder, recursive=True)


def put(address, data: bytes):
    with fsspec.open(address, "wb") as f:
        f.write(data)


@pytest.fixture
def server(tmp_path):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_a_file_of_every_type_is_read_as_a_local_one(bucket, tmp_path):
    put(f"{bucket}/a.json", json.dumps(ROWS).encode())
    put(f"{bucket}/b.csv", b"instruction,output\nhi,ho\na,b\n")
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "c.parquet")
    put(f"{bucket}/c.parquet", (tmp_path / "c.parquet").read_bytes())
    for name in ("a.json", "b.csv", "c.parquet"):
        rows = opened(f"{bucket}/{name}").to_list()
        assert [{key: row[key] for key in ("instruction", "output")} for row in rows] == ROWS


def test_a_folder_is_its_data_files_in_the_order_of_their_names(bucket):
    for name, row in (("b", ROWS[1]), ("a", ROWS[0])):
        put(f"{bucket}/{name}.jsonl", json.dumps(row).encode())
    put(f"{bucket}/README.md", b"not data")
    assert opened(bucket)["instruction"][:] == ["hi", "a"]


def test_a_server_is_read_and_what_it_does_not_have_is_named(server, tmp_path):
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    assert opened(f"{server}/d.jsonl?version=2")["output"][:] == ["ho", "b"]
    with pytest.raises(RunError) as error:
        opened(f"{server}/missing.jsonl")
    assert f"{server}/missing.jsonl: there is no such file" in str(error.value)


def test_a_server_that_does_not_answer_is_named():
    with pytest.raises(RunError, match="http://127.0.0.1:9/x.jsonl cannot be read"):
        opened("http://127.0.0.1:9/x.jsonl")


def test_a_broken_file_is_named_by_its_address(bucket):
    put(f"{bucket}/a.jsonl", b'{"a": 1}\n{"a"')
    with pytest.raises(RunError) as error:
        opened(f"{bucket}/a.jsonl")
    assert f"{bucket}/a.jsonl:2: the JSON ends in the middle of a value" in str(error.value)


def test_a_protocol_that_nobody_knows_is_named():
    with pytest.raises(RunError, match="nowhere://x/y.jsonl cannot be read: Protocol not known"):
        opened("nowhere://x/y.jsonl")


def test_equal_bytes_have_one_fingerprint(bucket):
    put(f"{bucket}/a.json", json.dumps(ROWS).encode())
    put(f"{bucket}/b.json", json.dumps(ROWS).encode())
    assert opened(f"{bucket}/a.json")._fingerprint == opened(f"{bucket}/b.json")._fingerprint


def test_addresses_and_entries_select_it(tmp_path):
    entries = {"d": {"cloud_file_name": "memory://d.jsonl"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(entries))
    keys = {"stage": "pt", "finetuning_type": "full", "model_name_or_path": "x", "dataset_dir": str(tmp_path)}
    for name in ("d", "https://example.org/d.jsonl"):
        assert "source:cloud" in make_plan({**keys, "dataset": name})


def test_the_package_of_a_protocol_is_asked_for_when_planned(tmp_path, monkeypatch):
    monkeypatch.setitem(plugin.PACKAGES, "s3", "a_package_that_is_not_there")
    keys = {"dataset": "s3://bucket/d.jsonl", "output_dir": str(tmp_path)}
    with pytest.raises(ConfigError) as error:
        make_plan(keys, components=["source:cloud"])
    (problem,) = error.value.problems
    assert (
        problem.message
        == f"dataset {keys['dataset']!r}: {keys['dataset']} needs the package 'a_package_that_is_not_there'"
    )
    assert [problem.level, problem.key] == ["error", "dataset"]
