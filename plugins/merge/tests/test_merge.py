import json
import logging
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from ft_plugin_merge import plugin
from ft_plugin_merge.export import merged_and_checked, write
from ft_plugin_merge.folder import MARK, obstacle, replacing
from ft_plugin_merge.probe import compare, require_room
from ftk.problems import ConfigError, RunError
from ftk_sdk.contracts import ExporterContract, PluginContract
from ftk_sdk.testing import make_plan, make_run
from ftk_sdk.tiny import CHATML, tiny_llama, tiny_tokenizer

IDS = torch.arange(24).view(2, 12) * 7 % 400
PARTS = ("loader:hf", "template:auto", "adapter:lora", "exporter:merge")


class TestPlugin(PluginContract):
    plugin = plugin


class TestExporter(ExporterContract):
    component = "exporter:merge"
    beside = ("template:auto",)

    def keys_for(self, folder):
        return {"export_dir": str(folder / "model")}


def adapter_on(model, scale: float = 0.3, **config):
    options = {"r": 4, "target_modules": ["q_proj", "up_proj"], "task_type": "CAUSAL_LM", **config}
    adapted = peft.get_peft_model(model, peft.LoraConfig(**options))
    generator = torch.Generator().manual_seed(1)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data += scale * torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
    return adapted


def exporting(folder, *, components=("template:auto", "exporter:merge"), action="export", **keys):
    return make_run({"export_dir": str(folder), **keys}, components=components, action=action)


def export(model, folder, tokenizer=None, **keys):
    (artifact,) = exporting(folder, **keys).export(model, tokenizer or tiny_tokenizer())
    return artifact


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits


@pytest.mark.parametrize("tied", [False, True])
def test_what_is_exported_loads_in_transformers_with_the_same_logits(tmp_path, tied):
    model = adapter_on(tiny_llama(tied=tied))
    before = logits(model)
    artifact = export(model, tmp_path / "out")
    assert artifact.path == tmp_path / "out"
    assert "of the unmerged" in artifact.summary
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(logits(again), before, rtol=1e-4, atol=1e-4)
    assert again.config.tie_word_embeddings is tied
    assert not list(tmp_path.glob("out/adapter*"))


def test_a_whole_run_from_the_config_exports_what_training_left(tmp_path, tiny_model_dir):
    model = adapter_on(AutoModelForCausalLM.from_pretrained(tiny_model_dir))
    model.save_pretrained(tmp_path / "trained")
    keys = {"model_name_or_path": str(tiny_model_dir), "output_dir": str(tmp_path / "trained")}
    run = exporting(tmp_path / "trained" / "merged", components=PARTS, **keys)
    (artifact,) = run.start().artifacts
    again = AutoModelForCausalLM.from_pretrained(artifact.path)
    torch.testing.assert_close(logits(again), logits(model), rtol=1e-4, atol=1e-4)
    assert json.loads((artifact.path / MARK).read_text())["adapters"] == [str(tmp_path / "trained")]


def test_the_chat_template_that_trained_and_its_stop_tokens_are_saved(tmp_path):
    tokenizer = tiny_tokenizer()
    tokenizer.padding_side = "right"
    tokenizer.chat_template = None
    run = exporting(tmp_path / "out", components=("template:chatml", "exporter:merge"), template="chatml")
    run.export(tiny_llama(), tokenizer)
    saved = AutoTokenizer.from_pretrained(tmp_path / "out")
    messages = [{"role": "user", "content": "hello"}]
    assert saved.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == run.load_template(
        tokenizer
    ).render(messages, generation_prompt=True)
    assert saved.padding_side == "left"
    assert tokenizer.padding_side == "right" and tokenizer.chat_template is None, "the run's own is left alone"
    stops = GenerationConfig.from_pretrained(tmp_path / "out").eos_token_id
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in (stops if isinstance(stops, list) else [stops])


def test_the_template_can_be_left_out(tmp_path):
    export(tiny_llama(), tmp_path / "out", tiny_tokenizer(chat_template=CHATML), export_without_template=True)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template is None


def test_a_tokenizer_without_a_template_is_saved_without_one(tmp_path):
    export(tiny_llama(), tmp_path / "out", tiny_tokenizer(chat_template=None))
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template is None


@pytest.mark.parametrize(
    ("keys", "dtype"),
    [
        ({}, torch.bfloat16),
        ({"infer_dtype": "float32"}, torch.float32),
        ({"infer_dtype": "float16"}, torch.float16),
        ({"model_dtype": "float32"}, torch.float32),
    ],
)
def test_the_type_is_the_models_own_unless_the_config_says_otherwise(tmp_path, keys, dtype):
    export(adapter_on(tiny_llama(dtype=torch.bfloat16)), tmp_path / "out", **keys)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert {p.dtype for p in again.parameters()} == {dtype}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")


def test_weights_are_split_into_files_of_the_given_size(tmp_path):
    model = tiny_llama()
    size = sum(p.numel() * 4 for p in model.parameters())
    limit = max(p.numel() * 4 for p in model.parameters())
    write(tmp_path, model, tiny_tokenizer(), template="", shard_bytes=limit)
    files = list(tmp_path.glob("model-*.safetensors"))
    assert size // limit <= len(files) <= 2 * size // limit
    assert all(p.stat().st_size <= limit + 4096 for p in files), "the tensors, and a header"
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == {p.name for p in files}
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path)), logits(model))


def test_a_file_too_small_for_the_largest_tensor_is_refused_with_the_size_that_would_do():
    with torch.device("meta"):
        model = torch.nn.Linear(32768, 32768)
    with pytest.raises(RunError, match=r"export_size=1 is smaller than the largest tensor \(2\.1 GB\)\n.*at least 3"):
        require_room(model, 1, 2)


def test_stacked_experts_are_measured_one_by_one_as_they_are_saved():
    with torch.device("meta"):
        model = torch.nn.Module()
        model.experts = torch.nn.Parameter(torch.empty(128, 4096, 4096))
    require_room(model, 1, 2)


def test_a_merge_that_changes_what_the_model_says_is_refused_and_leaves_nothing(tmp_path):
    model = adapter_on(tiny_llama())
    # A layer that says something else than its weights: merging loses it.
    layer = model.base_model.model.model.layers[0].mlp.up_proj
    right = layer.forward
    layer.forward = lambda x: right(x) * 1.5
    with pytest.raises(RunError, match="does not say what the unmerged one says: logits differ by"):
        export(model, tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_and_leave_nothing(tmp_path, value):
    model = tiny_llama()
    model.model.norm.weight.data[3] = value
    with pytest.raises(RunError, match=r"model\.norm\.weight holds"):
        export(model, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_values_that_float16_cannot_hold_are_refused(tmp_path):
    model = tiny_llama()
    model.model.norm.weight.data[3] = 1e6
    with pytest.raises(RunError, match="values too large for float16"):
        export(model, tmp_path / "out", infer_dtype="float16")


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 1e-4), (torch.float16, 1e-2), (torch.bfloat16, 5e-2)])
def test_the_tolerance_is_that_of_the_coarser_type(dtype, allowed):
    right = torch.ones(10)
    assert compare(right, right * (1 + allowed / 2), torch.float32, dtype).allowed == allowed
    with pytest.raises(RunError, match=f"up to {100 * allowed:g} % is rounding"):
        compare(right, right * (1 + 2 * allowed), torch.float32, dtype)
    with pytest.raises(RunError, match="logits differ by nan"):
        compare(right, right * float("nan"), torch.float32, dtype)


def test_rounding_to_bfloat16_stays_well_below_the_tolerance():
    for seed in range(3):
        model = adapter_on(tiny_llama(dtype=torch.bfloat16, layers=12, seed=seed))
        _, gap = merged_and_checked(model, torch.bfloat16, 400)
        assert gap.relative < gap.allowed / 2


def test_an_earlier_export_is_replaced(tmp_path):
    export(tiny_llama(seed=0), tmp_path / "out")
    export(tiny_llama(seed=1), tmp_path / "out")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.equal(logits(again), logits(tiny_llama(seed=1)))
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_folder_with_files_of_others_is_refused_when_planning_already(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds files that no export wrote"):
        make_plan({"export_dir": str(tmp_path)}, components=["exporter:merge"], action="export")


def test_an_export_to_which_something_was_added_is_refused(tmp_path):
    export(tiny_llama(), tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert "no export wrote" in obstacle(tmp_path / "out", [], overwrite=False)[0]


def test_overwriting_keeps_what_was_there_beside_it(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    export(tiny_llama(), tmp_path / "out", overwrite_output_dir=True)
    assert (tmp_path / "out.replaced" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_the_export_is_made_from_is_never_replaced(tmp_path, overwrite):
    model = tmp_path / "models" / "base"
    model.mkdir(parents=True)
    for folder in (model, model.parent):
        found = obstacle(folder, [model], overwrite=overwrite)
        assert "which the export is made from" in found[0]
    assert obstacle(model / "merged", [model], overwrite=overwrite) is None


def test_a_failure_while_writing_keeps_the_earlier_folder(tmp_path):
    export(tiny_llama(), tmp_path / "out")
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "out") as folder:
        (folder / "half").write_text("half")
        raise ZeroDivisionError
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_export_is_readable_by_others_as_any_new_folder_is(tmp_path):
    export(tiny_llama(), tmp_path / "out")
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "file").touch()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode
    usual = (tmp_path / "plain" / "file").stat().st_mode
    assert all(path.stat().st_mode == usual for path in (tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"export_legacy_format": True}, "transformers 5 writes safetensors only"),
        ({"export_size": 0}, "export_size=0 must be at least 1"),
    ],
)
def test_what_cannot_be_done_is_refused_when_planning(tmp_path, keys, message):
    with pytest.raises(ConfigError, match=message):
        make_plan({"export_dir": str(tmp_path / "out"), **keys}, components=["exporter:merge"], action="export")


def test_uploading_without_a_network_is_refused_when_planning(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    keys = {"export_dir": str(tmp_path / "out"), "export_hub_model_id": "me/model"}
    with pytest.raises(ConfigError, match="needs the network, but HF_HUB_OFFLINE is set"):
        make_plan(keys, components=["exporter:merge"], action="export")


UPLOAD = """
import sys
from pathlib import Path
from ftk.problems import RunError
from ft_plugin_merge.hub import upload
try:
    upload(Path(sys.argv[1]), "me/model", "token")
except RunError as e:
    print(e)
"""


def test_the_hub_is_really_asked_and_its_refusal_is_told(tmp_path):
    asked = []

    class Hub(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))["name"]))
            self.send_response(403)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        # The library reads its address when it is imported, so it needs a process of its own.
        own = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_OFFLINE": "0"}
        command = [sys.executable, "-c", UPLOAD, str(tmp_path)]
        done = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True)
        server.shutdown()
    assert asked[0] == ("/api/repos/create", "model")
    assert "cannot upload to 'me/model'" in done.stdout and "403" in done.stdout, done.stdout + done.stderr
    assert f"the export itself is complete in '{tmp_path}'" in done.stdout


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert exporting(tmp_path / "out").export(tiny_llama(), tiny_tokenizer()) == []
    assert not (tmp_path / "out").exists()


def test_the_cache_that_training_turned_off_is_on_in_the_export(tmp_path):
    model = tiny_llama()
    model.config.use_cache = False
    exporting(tmp_path / "out", action="train").export(model, tiny_tokenizer())
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").config.use_cache is True


def test_the_log_says_where_it_goes(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="ftk"):
        export(tiny_llama(), tmp_path / "out")
    assert f"exporting to {tmp_path / 'out'} in float32" in caplog.text
