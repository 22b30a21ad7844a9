"""What holds for every stage."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file

from ftk.contracts import Encoded, Example
from ftk.execute import start

from ..invariance import TOLERANCE, cuts, largest_difference
from ..testing import make_run
from ..tiny import tiny_tokenizer, write_tiny_model
from .subject import Subject


class StageContract(Subject):
    """Set ``component`` and ``keys``, ``rows`` of a dataset, and what carries loss in one ``example``."""

    rows: ClassVar[Sequence[Mapping[str, Any]]] = tuple(
        {"instruction": f"Say the number {n} in words", "input": "", "output": word}
        for n, word in enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    )
    """At least 8, in a format that the columns tell."""
    example: ClassVar[Example]
    loss_on: ClassVar[Mapping[str, Sequence[str]]]
    """Column of labels -> the stretches of text that carry loss in it, as the tokenizer decodes them."""

    def keys_for(self, model: Path, folder: Path) -> dict[str, Any]:
        """A run of 4 steps with a checkpoint after 2."""
        data = folder.parent / "rows.json"
        data.write_text(json.dumps(list(self.rows)), encoding="utf-8")
        return {
            "stage": self.component.partition(":")[2],
            "finetuning_type": "full",
            "model_name_or_path": str(model),
            "dataset": str(data),
            "output_dir": str(folder),
            "per_device_train_batch_size": 2,
            "max_steps": 4,
            "save_steps": 2,
            "logging_steps": 1,
            "learning_rate": 1e-3,
            **self.keys,
        }

    def train(self, model: Path, folder: Path, **keys: Any) -> list[float]:
        """Run it; the loss of every step that the folder's last checkpoint knows of."""
        start(make_run({**self.keys_for(model, folder), **keys}, plugins=self.plugins))
        state = json.loads((folder / "checkpoint-4" / "trainer_state.json").read_text(encoding="utf-8"))
        return [entry["loss"] for entry in state["log_history"] if "loss" in entry]

    def test_its_losses_are_finite_and_the_same_every_time(self, tiny_model_dir, tmp_path):
        first = self.train(tiny_model_dir, tmp_path / "first")
        assert len(first) == 4 and all(map(math.isfinite, first)), f"its losses are {first}"
        second = self.train(tiny_model_dir, tmp_path / "second")
        assert first == second, f"with one seed its losses are {first}, then {second}"

    def test_it_trains(self, tiny_model_dir, tmp_path):
        self.train(tiny_model_dir, tmp_path / "run")
        before, after = weights(tiny_model_dir), weights(tmp_path / "run")
        assert any(not torch.equal(before[name], after[name]) for name in before), "no weight has changed"

    def test_resumed_it_goes_on_as_if_never_stopped(self, tiny_model_dir, tmp_path):
        straight = self.train(tiny_model_dir, tmp_path / "straight")
        resumed = tmp_path / "resumed"
        resumed.mkdir()
        # As a run leaves it that is killed in its third step.
        shutil.copytree(tmp_path / "straight" / "checkpoint-2", resumed / "checkpoint-2")
        shutil.copy(tmp_path / "straight" / "plan.json", resumed)
        losses = self.train(tiny_model_dir, resumed)
        assert losses == straight, f"resumed, its losses are {losses}, without a stop {straight}"
        one, other = weights(tmp_path / "straight"), weights(resumed)
        moved = [name for name in one if not torch.equal(one[name], other[name])]
        assert not moved, f"resumed, these weights differ: {', '.join(moved)}"

    def test_its_curve_does_not_depend_on_how_a_batch_is_cut(self, tmp_path):
        model = write_tiny_model(tmp_path / "model", dtype=torch.float64)
        ways = {f"way{number}": keys for number, keys in enumerate(cuts(4).values(), 1)}
        exact = {"disable_gradient_checkpointing": True, "model_dtype": "float64"}
        curves = {name: self.train(model, tmp_path / name, **exact | keys) for name, keys in ways.items()}
        shown = "\n".join(f"{way}: {curve}" for way, curve in zip(cuts(4), curves.values(), strict=True))
        assert largest_difference(curves) < TOLERANCE, f"its losses depend on how a batch is cut\n{shown}"

    def test_exactly_what_it_documents_carries_loss(self, tiny_model_dir, tmp_path):
        run = make_run(self.keys_for(tiny_model_dir, tmp_path / "run"), plugins=self.plugins)
        tokenizer = run.load_tokenizer()
        encoder = run.encoder(tokenizer, run.load_template(tokenizer))
        (made,) = encoder.encode([self.example])
        assert isinstance(made, list) and made, f"the example is refused: {made}"
        for column, wanted in self.loss_on.items():
            found = trained_text(made[0], column)
            assert found == list(wanted), f"in {column} these carry loss: {found!r}, not {list(wanted)!r}"

    def test_a_row_without_anything_to_train_on_is_refused(self, tiny_model_dir, tmp_path):
        run = make_run(self.keys_for(tiny_model_dir, tmp_path / "run"), plugins=self.plugins)
        tokenizer = run.load_tokenizer()
        encoder = run.encoder(tokenizer, run.load_template(tokenizer))
        try:
            (made,) = encoder.encode([Example()])
        except Exception as e:
            pytest.fail(f"an empty example raised {type(e).__name__}: {e}; give a RowError in its place")
        assert isinstance(made, Exception), f"an empty example became {made}"


def trained_text(encoded: Encoded, column: str) -> list[str]:
    """Stretches of labels other than -100, decoded, without white space around them."""
    tokenizer: Any = tiny_tokenizer()
    runs = groupby(encoded.columns[column], key=lambda label: label != -100)
    return [tokenizer.decode(list(run)).strip() for carries, run in runs if carries]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All weights that a folder holds."""
    return {name: value for path in sorted(folder.glob("*.safetensors")) for name, value in load_file(path).items()}
