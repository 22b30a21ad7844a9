"""The tracker contract passes a good tracker, and each of its assertions catches a broken one."""

import json

import pytest
from transformers import TrainerCallback

from ftk.markers import hookimpl
from ftk_sdk.contracts import TrackerContract
from ftk_sdk.fakes import installed_with, plugin


class Diary:
    @hookimpl
    def ftk_callbacks(self, run):
        return [TrainerCallback()]

    @hookimpl
    def ftk_run_finished(self, run, result):
        (run.output_dir / "diary.txt").write_text(json.dumps(result.metrics), encoding="utf-8")

    @hookimpl
    def ftk_run_failed(self, run, error):
        (run.output_dir / "diary.txt").write_text(str(error), encoding="utf-8")


class DiaryContract(TrackerContract):
    def told(self, folder):
        path = folder / "diary.txt"
        return path.read_text(encoding="utf-8") if path.exists() else ""


class TestAGoodTracker(DiaryContract):
    component = "tracker:diary"
    plugins = installed_with(plugin(offers={"tracker:diary": Diary}))


class Rounds(Diary):
    @hookimpl
    def ftk_run_finished(self, run, result):
        (run.output_dir / "diary.txt").write_text(f"train_loss {result.metrics['train_loss']:.0f}", encoding="utf-8")


class Mute(Diary):
    @hookimpl
    def ftk_run_failed(self, run, error):
        pass


class Stumbles(Diary):
    @hookimpl
    def ftk_run_failed(self, run, error):
        raise OSError("no network")


class Function(Diary):
    @hookimpl
    def ftk_callbacks(self, run):
        return [print]


class Talks(Diary):
    def __init__(self):
        Talks.said = "hello"


BROKEN = [
    ("test_it_tells_how_a_run_ended", Rounds, "it does not tell train_loss=1.25"),
    ("test_it_tells_why_a_run_failed", Mute, "it does not tell why"),
    ("test_it_tells_why_a_run_failed", Stumbles, "telling of a failure failed"),
    ("test_its_callbacks_are_callbacks", Function, "is no transformers.TrainerCallback"),
]


@pytest.mark.parametrize(("method", "broken", "message"), BROKEN)
def test_a_broken_tracker_is_caught(caught, tmp_path, method, broken, message):
    class Contract(DiaryContract):
        component = "tracker:broken"
        plugins = installed_with(plugin(offers={"tracker:broken": broken}))

    assert message in caught(Contract, method, tmp_path=tmp_path)


def test_a_tracker_that_tells_before_there_is_anything_is_caught(caught, tmp_path):
    class Contract(TrackerContract):
        component = "tracker:talks"
        plugins = installed_with(plugin(offers={"tracker:talks": Talks}))

        def told(self, folder):
            return Talks.said

    assert "making a run already told 'hello'" in caught(
        Contract, "test_it_is_silent_before_a_run_ends", tmp_path=tmp_path
    )
