import json

import pytest


def test_help_lists_the_kernels_commands_and_those_of_plugins(ftk):
    done = ftk("--help")
    assert done.returncode == 0
    for command in (
        "run",
        "plan",
        "plugins",
        "keys",
        "explain",
        "schema",
        "init",
        "doctor",
        "version",
        "chat",
        "export",
        "new",
    ):
        assert f"  {command} " in done.stdout, command


def test_an_unknown_command_is_exit_code_2(ftk):
    done = ftk("frobnicate")
    assert done.returncode == 2 and "No such command 'frobnicate'" in done.stderr


def test_the_schema_takes_what_the_config_takes(ftk, tmp_path):
    import jsonschema

    done = ftk("schema")
    schema = json.loads(done.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert not list(validator.iter_errors({"lora_rank": 8, "dataset": "a,b", "stage": "sft", "warmup_ratio": 0.1}))
    assert list(validator.iter_errors({"lora_rank": "eight"}))
    assert list(validator.iter_errors({"lora_rnak": 8}))


@pytest.mark.parametrize("stage", ["sft", "pt"])
def test_init_writes_a_config_that_can_be_planned(ftk, tmp_path, stage):
    made = ftk("init", stage, "-o", tmp_path / "new.yaml")
    assert made.returncode == 0, made.stderr
    text = (tmp_path / "new.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=ftk.schema.json\n")
    assert "model_name_or_path:  #" in text and "# lora_rank: 8  # " in text
    planned = ftk("plan", tmp_path / "new.yaml")
    assert planned.returncode == 0, planned.stderr
    again = ftk("init", stage, "-o", tmp_path / "new.yaml")
    assert again.returncode == 2 and "exists" in again.stderr


def test_a_run_that_lacks_something_stops_before_it_starts(ftk, tmp_path):
    config = tmp_path / "a.yaml"
    config.write_text("model_name_or_path: ./nowhere\ndataset: nothing\noutput_dir: out\n")
    assert ftk("plan", config).returncode == 0
    done = ftk("run", config)
    assert done.returncode == 2 and "./nowhere" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_strict_makes_warnings_errors(ftk, tmp_path):
    config = tmp_path / "a.yaml"
    config.write_text("model_name_or_path: ./nowhere\nfinetuning_type: full\nlora_rank: 4\n")
    assert ftk("plan", config).returncode == 0
    done = ftk("plan", config, "--strict")
    assert done.returncode == 2 and "'lora_rank' has no effect" in done.stderr


def test_explain_tells_where_a_value_comes_from(ftk, tmp_path):
    config = tmp_path / "a.yaml"
    config.write_text("model_name_or_path: ./nowhere\nlora_rank: 4\n")
    rows = {r["key"]: r for r in json.loads(ftk("explain", config, "seed=7", "--json").stdout)}
    assert rows["lora_rank"]["at"].endswith("a.yaml:2") and rows["seed"]["at"] == "command line"
    assert "Rank" in ftk("explain", "lora_rank").stdout
    assert "pip install ft-plugin-oft" in ftk("explain", "oft_rank").stdout
    assert ftk("explain", "lora_rnak").returncode == 2


def test_doctor_finds_nothing_wrong_here(ftk):
    done = ftk("doctor", "--json")
    assert [f for f in json.loads(done.stdout)["faults"] if "disk" not in f] == []
