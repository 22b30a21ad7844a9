"""Names of datasets: what they mean, what is missing, and what is wrong."""

import json

import pytest

from ft_plugin_data.guess import Guess, guess_format
from ft_plugin_data.registry import HUBS, Unusable, find
from ftk.problems import ConfigError
from ftk_sdk.testing import make_plan

DATASET = ["dataset:map"]


def problems(folder, keys, *, action="train"):
    """(level, key, text) of what the plan says about the data keys."""
    keys = {"dataset_dir": str(folder.path), "output_dir": str(folder.out), **keys}
    try:
        found = make_plan(keys, components=DATASET, action=action).problems
    except ConfigError as e:
        found = e.problems
    return [(p.level, p.key, f"{p.message} | {p.hint}") for p in found]


def said(folder, **keys):
    return "\n".join(f"{level} {key}: {text}" for level, key, text in problems(folder, keys))


def test_an_entry_becomes_a_description(folder):
    entry = {
        "file_name": "x.json",
        "formatting": "sharegpt",
        "ranking": True,
        "num_samples": 3,
        "columns": {"messages": "talk", "system": None},
        "tags": {"role_tag": "who"},
    }
    folder.register("x", entry)
    spec = find("x", str(folder.path))
    assert (spec.source, spec.location) == ("local", str(folder.path / "x.json"))
    assert (spec.formatting, spec.ranking, spec.num_samples) == ("sharegpt", True, 3)
    assert (spec.columns, spec.tags) == ({"messages": "talk", "system": ""}, {"role_tag": "who"})


@pytest.mark.parametrize(
    ("entry", "source", "location"),
    [
        ({"hf_hub_url": "org/a", "ms_hub_url": "org/b"}, "hf", "org/a"),
        ({"ms_hub_url": "org/b"}, "modelscope", "org/b"),
        ({"om_hub_url": "org/c"}, "openmind", "org/c"),
        ({"cloud_file_name": "s3://bucket/x.json"}, "cloud", "s3://bucket/x.json"),
    ],
)
def test_an_entry_says_where_its_rows_are(folder, entry, source, location):
    folder.register("x", entry | {"subset": "en", "split": "test", "folder": "f", "revision": "v1"})
    spec = find("x", str(folder.path))
    assert (spec.source, spec.location, spec.formatting) == (source, location, "alpaca")
    assert (spec.subset, spec.split, spec.folder, spec.revision) == ("en", "test", "f", "v1")


def test_hub_ids_are_known_by_their_form(folder):
    for name in ("hf:org/name", "org/name"):
        spec = find(name, str(folder.path))
        assert (spec.source, spec.location, spec.formatting) == ("hf", "org/name", "")
    assert find("anything", "ONLINE").location == "anything"


def test_a_source_of_another_package_is_named_before_the_location(folder):
    spec = find("numbers:1/7", str(folder.path))
    assert (spec.source, spec.location, spec.formatting) == ("numbers", "1/7", "")


def test_a_path_is_taken_from_here_or_from_the_folder_of_datasets(folder, tmp_path, monkeypatch):
    folder.write("d", [{"messages": []}])
    monkeypatch.chdir(tmp_path)
    for name in ("d.jsonl", "data/d.jsonl", str(folder.path / "d.jsonl")):
        spec = find(name, str(folder.path))
        assert (spec.source, spec.formatting) == ("local", "openai")


def test_the_plan_holds_the_sources_and_formats_that_are_needed(folder):
    folder.write("a", [{"instruction": "x", "output": "y"}])
    folder.write("s", [{"conversations": []}], entry={"formatting": "sharegpt"})
    config = make_plan(
        {"dataset_dir": str(folder.path), "dataset": "a,s", "eval_dataset": "hf:org/x"}, components=[]
    ).config
    from ft_plugin_data.plugin import ftk_select

    assert ftk_select(config) == [
        "source:local",
        "format:alpaca",
        "format:sharegpt",
        "source:hf",
        "format:openai",
    ]


def test_a_format_of_another_package_is_asked_for_by_its_name(folder):
    from ft_plugin_data.plugin import ftk_select

    folder.write("m", [{}], entry={"formatting": "mine"})
    config = make_plan({"dataset_dir": str(folder.path), "dataset": "m"}, components=[]).config
    assert ftk_select(config) == ["source:local", "format:mine"]


def test_what_is_not_on_this_machine_is_missing_and_not_wrong(folder):
    assert said(folder).startswith("missing dataset: dataset is not set")
    assert "missing dataset: dataset 'x': there is no dataset_info.json in dataset_dir" in said(folder, dataset="x")
    assert "missing dataset: dataset 'x.json': no such file" in said(folder, dataset="x.json")
    assert "missing dataset: dataset './x': no such file" in said(folder, dataset="./x")
    folder.register("d", {"file_name": "gone.json"})
    assert "missing dataset: dataset 'd': " in said(folder, dataset="d")
    assert "gone.json: no such file or folder" in said(folder, dataset="d")


def test_a_name_that_is_not_registered_is_an_error_with_the_nearest(folder):
    folder.register("alpaca_en_demo", {"file_name": "x.json"})
    text = said(folder, dataset="alpaca_en_dmo")
    assert "error dataset: dataset 'alpaca_en_dmo' is not in" in text
    assert "did you mean 'alpaca_en_demo'?" in text


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ([], "an object was expected"),
        ({}, "none of hf_hub_url, ms_hub_url, om_hub_url, cloud_file_name, file_name says where it is"),
        ({"file_name": 3}, "file_name=3 is not text"),
        ({"file_name": "d.jsonl", "columns": ["x"]}, "columns=['x'] is not an object"),
        ({"file_name": "d.jsonl", "columns": {"prompt": 1}}, "columns: prompt=1 is not a name"),
        ({"file_name": "d.jsonl", "num_samples": 0}, "num_samples=0 is not a positive number"),
        ({"file_name": "d.jsonl", "num_samples": "many"}, "num_samples='many' is not a positive number"),
        ({"file_name": "d.jsonl", "ranking": "yes"}, "ranking='yes' is neither true nor false"),
        ({"script_url": "x"}, "script_url: loading scripts are not run"),
    ],
)
def test_a_wrong_entry_is_an_error(folder, entry, message):
    folder.write("d", [{"instruction": "a", "output": "b"}])
    folder.register("d", entry)
    assert f"error dataset: dataset 'd': {message}" in said(folder, dataset="d")


def test_a_broken_registry_is_an_error_with_its_line(folder):
    (folder.path / "dataset_info.json").write_text('{\n"a": {}\n"b"}')
    with pytest.raises(Unusable) as error:
        find("a", str(folder.path))
    assert str(error.value.problem.origin) == f"{folder.path / 'dataset_info.json'}:3"
    (folder.path / "dataset_info.json").write_text("[]")
    assert "an object of datasets was expected" in said(folder, dataset="a")
    (folder.path / "dataset_info.json").write_bytes(b"\xff\xfe")
    assert "cannot be read" in said(folder, dataset="a")


def test_keys_of_an_entry_without_an_effect_are_named_with_their_line(folder):
    folder.write("other", [{"instruction": "a", "output": "b"}])
    folder.write("d", [{"instruction": "a", "output": "b"}], entry={"type": "sft", "colums": {}, "subset": "en"})
    keys = {"dataset_dir": str(folder.path), "dataset": "d", "output_dir": str(folder.out)}
    found = {p.message: p for p in make_plan(keys, components=DATASET).problems}
    assert set(found) == {f"dataset 'd': {key!r} has no effect" for key in ("type", "colums", "subset")}
    assert found["dataset 'd': 'type' has no effect"].hint == "the stage decides what the data is for"
    assert found["dataset 'd': 'colums' has no effect"].hint == "did you mean 'columns'?"
    lines = (folder.path / "dataset_info.json").read_text().splitlines()
    line = next(n for n, text in enumerate(lines, 1) if '"d": {' in text)
    assert {p.origin.line for p in found.values()} == {line}
    assert {p.level for p in found.values()} == {"warning"}


def test_a_file_of_unknown_columns_or_broken_text_is_an_error_before_the_run(folder):
    (folder.path / "odd.jsonl").write_text('{"x": 1, "y": 2}')
    assert "error dataset: dataset 'odd.jsonl': no format is known for the columns x, y" in said(
        folder, dataset="odd.jsonl"
    )
    (folder.path / "cut.json").write_text('[{"instruction": "x')
    assert "cut.json:1: the JSON ends in the middle of a value" in said(folder, dataset="cut.json")


def test_nothing_is_asked_of_other_actions_than_training(folder):
    assert problems(folder, {}, action="chat") == []


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"streaming": True}, "error streaming: streaming needs max_steps"),
        ({"streaming": True, "val_size": 0.1}, "error val_size: a fraction of a stream is not known"),
        ({"streaming": True, "tokenized_path": "x"}, "error tokenized_path: tokenized_path needs all rows"),
        ({"streaming": True, "max_drop": "1%"}, "error max_drop: max_drop needs all rows"),
        ({"val_size": 0.1, "eval_dataset": "d"}, "error val_size: val_size and eval_dataset both say"),
        ({"val_size": -1}, "error val_size: val_size=-1.0 is neither"),
        ({"val_size": 10.5}, "error val_size: val_size=10.5 is neither"),
        ({"interleave_probs": "1.0"}, "error interleave_probs: interleave_probs needs interleaving"),
        (
            {"mix_strategy": "interleave_over", "interleave_probs": "0.5,0.5"},
            "error interleave_probs: interleave_probs has 2 numbers for 1 datasets",
        ),
        (
            {"mix_strategy": "interleave_over", "interleave_probs": "0.5"},
            "error interleave_probs: interleave_probs=[0.5] are not probabilities",
        ),
        ({"mask_history": True, "train_on_prompt": True}, "error mask_history: mask_history and train_on_prompt"),
        ({"max_samples": 0}, "error max_samples: max_samples=0 is not positive"),
        ({"preprocessing_num_workers": -1}, "error preprocessing_num_workers"),
        ({"max_drop": "some"}, "error max_drop: max_drop='some' is neither a number of rows nor a percentage"),
        ({"max_drop": "101%"}, "error max_drop"),
        ({"do_eval": True}, "error do_eval: do_eval is set, but there is nothing to evaluate on"),
        ({"eval_on_each_dataset": True}, "warning eval_on_each_dataset: eval_on_each_dataset has no effect"),
        ({"dataset_dir": "REMOTE:org/x"}, "error dataset: dataset_dir 'REMOTE:org/x': remote folders"),
    ],
)
def test_keys_that_contradict_each_other_are_told(folder, keys, message):
    folder.write("d", [{"instruction": "a", "output": "b"}])
    assert message in said(folder, **{"dataset": "d"} | keys)


def test_good_keys_say_nothing(folder):
    folder.write("d", [{"instruction": "a", "output": "b"}])
    assert said(folder, dataset="d", val_size=0.1, max_drop="1%", eval_on_each_dataset=False) == ""


@pytest.mark.parametrize(
    ("columns", "guess"),
    [
        ("instruction input output", Guess("alpaca", {}, False)),
        ("question answer", Guess("alpaca", {"prompt": "question", "response": "answer"}, False)),
        ("prompt completion", Guess("openai", {}, False)),
        (
            "prompt completion label",
            Guess("openai", {"kto_tag": "label"}, False),
        ),
        ("instruction chosen rejected", Guess("alpaca", {}, True)),
        ("text", Guess("alpaca", {"prompt": "text"}, False)),
        ("text label", Guess("alpaca", {"prompt": "text"}, False)),
        ("content url", Guess("alpaca", {"prompt": "content"}, False)),
        ("conversations tools", Guess("sharegpt", {}, False)),
        ("conversations chosen rejected", Guess("sharegpt", {}, True)),
        ("conversation", Guess("sharegpt", {"messages": "conversation"}, False)),
        ("messages", Guess("openai", {}, False)),
        ("messages label", Guess("openai", {"kto_tag": "label"}, False)),
        ("messages label topic", Guess("openai", {}, False)),
        ("chosen rejected", Guess("openai", {}, True)),
        ("a b", None),
        ("", None),
    ],
)
def test_a_format_is_guessed_from_the_columns(columns, guess):
    assert guess_format(columns.split()) == guess


def test_the_shipped_catalogue_of_the_rival_is_understood_in_all_its_forms(folder):
    entries = {
        "hub": {"hf_hub_url": "llamafactory/alpaca_en", "ms_hub_url": "llamafactory/alpaca_en"},
        "subset": {
            "hf_hub_url": "llamafactory/DPO-En-Zh-20k",
            "subset": "en",
            "ranking": True,
            "formatting": "sharegpt",
        },
        "folder": {"hf_hub_url": "bigcode/starcoderdata", "columns": {"prompt": "content"}, "folder": "python"},
        "split": {"hf_hub_url": "x/y", "split": "train_sft", "tags": {"role_tag": "role", "content_tag": "content"}},
    }
    for name, entry in entries.items():
        folder.register(name, entry)
    assert said(folder, dataset=",".join(entries)) == ""
    assert json.loads((folder.path / "dataset_info.json").read_text()) == entries


@pytest.mark.parametrize(
    ("variable", "entry", "source"),
    [
        ("", {"hf_hub_url": "a/b", "ms_hub_url": "c/d", "om_hub_url": "e/f"}, "hf"),
        ("USE_MODELSCOPE_HUB", {"hf_hub_url": "a/b", "ms_hub_url": "c/d", "om_hub_url": "e/f"}, "modelscope"),
        ("USE_OPENMIND_HUB", {"hf_hub_url": "a/b", "ms_hub_url": "c/d", "om_hub_url": "e/f"}, "openmind"),
        ("USE_MODELSCOPE_HUB", {"hf_hub_url": "a/b"}, "hf"),
        ("", {"ms_hub_url": "c/d", "file_name": "x.json"}, "modelscope"),
        ("", {"cloud_file_name": "s3://b/x.json", "file_name": "x.json"}, "cloud"),
    ],
)
def test_an_entry_with_several_places_is_read_from_the_preferred_hub(folder, monkeypatch, variable, entry, source):
    for name in HUBS:
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, "true")
    folder.register("d", entry)
    assert find("d", str(folder.path)).source == source


def test_addresses_are_the_business_of_the_cloud(folder, monkeypatch):
    spec = find("https://example.org/a.jsonl", str(folder.path))
    assert [spec.source, spec.location, spec.formatting] == ["cloud", "https://example.org/a.jsonl", ""]
    monkeypatch.setenv("USE_MODELSCOPE_HUB", "1")
    assert [find(name, "ONLINE").source for name in ("org/name", "hf:org/name")] == ["modelscope", "hf"]
