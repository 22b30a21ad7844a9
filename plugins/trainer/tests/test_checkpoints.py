"""Checkpoints and results are on the disk whole or not at all, and runs go on as if never stopped."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ft_plugin_trainer.files import INCOMPLETE, discard, publish, publish_files, remove_incomplete, staging_of
from ftk.problems import RunError
from ftk_sdk.tiny import tiny_llama

SAVING = {"save_strategy": "steps", "save_steps": 2, "max_steps": 6, "per_device_train_batch_size": 4}


@pytest.mark.slow
def test_a_run_killed_at_any_write_leaves_only_whole_files_and_resumes_to_the_same_result(tmp_path):
    script = Path(__file__).with_name("interruptions.py")
    done = subprocess.run(
        [sys.executable, script, tmp_path, "12"],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert len(report["points"]) == 12
    wrong = {at: outcome for at, outcome in report["points"].items() if outcome["broken"] or outcome["different"]}
    assert wrong == {}


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_folder_has_its_name_only_when_it_is_complete(tmp_path):
    final = tmp_path / "checkpoint-1"
    staging = staging_of(final)
    staging.mkdir()
    (staging / "weights").write_text("new")
    assert not final.exists()
    publish(staging, final)
    assert names(tmp_path) == ["checkpoint-1"]


def test_a_folder_replaces_an_older_one_of_its_name(tmp_path):
    final = tmp_path / "checkpoint-1"
    final.mkdir()
    (final / "stale").touch()
    staging_of(final).mkdir()
    publish(staging_of(final), final)
    assert names(tmp_path) == ["checkpoint-1"]
    assert names(final) == []


def test_the_files_by_which_a_model_is_recognised_go_first_and_come_last(tmp_path):
    (tmp_path / "config.json").write_text("old")
    staging = staging_of(tmp_path / "model")
    (staging / "part").mkdir(parents=True)
    for name in ("config.json", "weights", "zz"):
        (staging / name).write_text("new")
    seen = []
    sys.addaudithook(
        lambda event, args: (
            seen.append((event, Path(args[0]).name))
            if event in ("os.remove", "os.rename") and str(tmp_path) in str(args[0])
            else None
        )
    )
    publish_files(staging, tmp_path, markers=("config.json", "adapter_config.json"))
    assert seen[0] == ("os.remove", "config.json")
    assert seen[-1] == ("os.rename", "config.json")
    assert names(tmp_path) == ["config.json", "part", "weights", "zz"]
    assert (tmp_path / "config.json").read_text() == "new"


def test_what_was_left_unfinished_is_removed_and_nothing_else(tmp_path):
    for name in (f"{INCOMPLETE}checkpoint-3", "checkpoint-2", "mine"):
        (tmp_path / name).mkdir()
    assert remove_incomplete(tmp_path) == ["checkpoint-3"]
    discard(tmp_path / "checkpoint-2")
    assert names(tmp_path) == ["mine"]


def test_checkpoints_hold_no_pickled_arguments_and_the_plan(bench):
    trainer = bench.trainer(**SAVING)
    (bench.folder / "out" / "plan.json").write_text("{}")
    trainer.train()
    names_in = names(bench.folder / "out" / "checkpoint-4")
    assert "training_args.bin" not in names_in
    assert "plan.json" in names_in


def test_old_checkpoints_go_but_not_the_best_one(bench):
    rows = bench.rows(6, seed=1)
    trainer = bench.trainer(
        **SAVING | {"max_steps": 10, "learning_rate": 0.1},
        save_total_limit=2,
        eval_strategy="steps",
        eval_steps=2,
        eval_rows=rows,
        load_best_model_at_end=True,
    )
    trainer.train()
    found = names(bench.folder / "out")
    best = Path(trainer.state.best_model_checkpoint).name
    assert best not in ("checkpoint-8", "checkpoint-10")
    assert [name for name in found if name.startswith("checkpoint")] == ["checkpoint-10", best]


def messages(caplog) -> str:
    return "\n".join(record.getMessage() for record in caplog.records)


def test_a_second_run_goes_on_from_the_last_checkpoint_and_says_so(bench, caplog):
    caplog.set_level(logging.INFO, "ftk")
    bench.trainer(**SAVING).train()
    trainer = bench.trainer(**SAVING | {"max_steps": 8})
    trainer.train()
    assert "going on from" in messages(caplog)
    assert "checkpoint-6" in messages(caplog)
    assert trainer.state.global_step == 8


def test_overwriting_discards_the_checkpoints_before_and_says_so(bench, caplog):
    caplog.set_level(logging.INFO, "ftk")
    bench.trainer(**SAVING).train()
    bench.trainer(**SAVING | {"max_steps": 3}, overwrite_output_dir=True).train()
    assert "removed the checkpoints of the run before: checkpoint-2, checkpoint-4, checkpoint-6" in messages(caplog)
    assert [n for n in names(bench.folder / "out") if n.startswith("checkpoint")] == ["checkpoint-2", "checkpoint-3"]


def test_resuming_can_name_a_checkpoint(bench):
    bench.trainer(**SAVING).train()
    point = bench.folder / "out" / "checkpoint-2"
    trainer = bench.trainer(**SAVING, resume_from_checkpoint=str(point), output_dir=str(bench.folder / "other"))
    trainer.train()
    assert [e["step"] for e in trainer.state.log_history if "loss" in e] == [1, 2, 3, 4, 5, 6]
    assert json.loads((bench.folder / "other/trainer_log.jsonl").read_text().splitlines()[0])["current_steps"] == 3


@pytest.mark.parametrize(
    ("before", "keys", "message"),
    [
        ({}, {"resume_from_checkpoint": True}, "holds no checkpoint"),
        (SAVING, {"resume_from_checkpoint": False}, "holds checkpoints, but resume_from_checkpoint is false"),
        (SAVING | {"save_only_model": True}, {}, "was written with save_only_model and cannot be resumed"),
        ({}, {"resume_from_checkpoint": "."}, "is not a checkpoint of a training run"),
    ],
)
def test_what_cannot_be_resumed_is_refused_with_the_reason(bench, before, keys, message):
    if before:
        bench.trainer(**before).train()
    with pytest.raises(RunError, match=message):
        bench.trainer(**SAVING | keys).train()


def test_a_changed_config_is_named_when_resuming(bench, caplog):
    from ftk import lock

    first = bench.trainer(**SAVING)
    lock.write_json(bench.folder / "out" / "plan.json", lock.describe(first.run.plan))
    first.train()
    bench.trainer(**SAVING | {"max_steps": 8, "learning_rate": 1e-3}).train()
    warning = next(r.getMessage() for r in caplog.records if r.levelname == "WARNING" and r.name == "ftk")
    assert "learning_rate: 5e-05 -> 0.001" in warning
    assert "max_steps: 6 -> 8" in warning


def test_a_finished_run_started_again_changes_nothing(bench):
    bench.trainer(**SAVING).train()
    weights = (bench.folder / "out" / "model.safetensors").read_bytes()
    log = (bench.folder / "out" / "trainer_log.jsonl").read_text()
    loss = json.loads((bench.folder / "out" / "train_results.json").read_text())["train_loss"]
    bench.trainer(model=tiny_llama(seed=9).double(), **SAVING).train()
    assert (bench.folder / "out" / "model.safetensors").read_bytes() == weights
    assert (bench.folder / "out" / "trainer_log.jsonl").read_text() == log
    assert json.loads((bench.folder / "out" / "train_results.json").read_text())["train_loss"] == loss
