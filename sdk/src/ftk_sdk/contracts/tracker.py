"""What holds for every tracker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ftk.contracts import Result
from ftk.run import Run

from .subject import Subject


class TrackerContract(Subject):
    """Set ``component`` and ``keys``, and write ``told``. ``keys_for`` points the tracker into the test's folder."""

    metrics = {"train_loss": 1.25, "eval_loss": 1.5}

    def keys_for(self, folder: Path) -> dict[str, Any]:
        return {"output_dir": str(folder)}

    def told(self, folder: Path) -> str:
        """All that the tracker has written or sent so far, as text."""
        raise NotImplementedError

    def tracked(self, folder: Path) -> Run:
        return self.run(self.keys_for(folder))

    def test_it_tells_how_a_run_ended(self, tmp_path):
        run = self.tracked(tmp_path)
        run.finished(Result(output_dir=run.output_dir, metrics=dict(self.metrics)))
        said = self.told(tmp_path)
        for name, value in self.metrics.items():
            assert name in said and str(value) in said, f"it does not tell {name}={value}: {said!r}"

    def test_it_tells_why_a_run_failed(self, tmp_path):
        run = self.tracked(tmp_path)
        error = RuntimeError("out of memory on step 7")
        run.failed(error)
        assert not getattr(error, "__notes__", []), f"telling of a failure failed: {error.__notes__}"
        assert "out of memory on step 7" in self.told(tmp_path), f"it does not tell why: {self.told(tmp_path)!r}"

    def test_its_callbacks_are_callbacks(self, tmp_path):
        for callback in self.tracked(tmp_path).callbacks():
            assert isinstance(callback, TrainerCallback), f"{callback!r} is no transformers.TrainerCallback"

    def test_it_is_silent_before_a_run_ends(self, tmp_path):
        self.tracked(tmp_path)
        assert not self.told(tmp_path), f"making a run already told {self.told(tmp_path)!r}"
