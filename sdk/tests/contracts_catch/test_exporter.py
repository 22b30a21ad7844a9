"""The exporter contract passes a good exporter, and each of its assertions catches a broken one."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from ftk.contracts import Artifact
from ftk.markers import hookimpl
from ftk.section import section
from ftk_sdk.contracts import ExporterContract
from ftk_sdk.fakes import installed_with, plugin


@section("card", enabled_by="card_dir")
class CardConfig:
    card_dir: str | None = None
    """Where to write."""


class Card:
    """Shapes of all weights, and their sums."""

    def write(self, folder, model):
        shapes = {name: list(p.shape) for name, p in model.named_parameters()}
        (folder / "shapes.json").write_text(json.dumps(shapes) * 20, encoding="utf-8")
        (folder / "more.json").write_text(json.dumps(shapes) * 20, encoding="utf-8")

    @hookimpl
    def ftk_export(self, run, model, tokenizer):
        folder = Path(run.config[CardConfig].card_dir)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            self.write(Path(made), model)
            shutil.copytree(made, folder)
        return Artifact(kind="card", path=folder, summary="shapes of all weights")


class CardContract(ExporterContract):
    def keys_for(self, folder):
        return {"card_dir": str(folder)}


class TestAGoodExporter(CardContract):
    component = "exporter:card"
    plugins = installed_with(plugin("card", offers={"exporter:card": Card}, sections=[CardConfig]))


class Silent(Card):
    @hookimpl
    def ftk_export(self, run, model, tokenizer):
        super().ftk_export(run, model, tokenizer)


class Unsaid(Card):
    @hookimpl
    def ftk_export(self, run, model, tokenizer):
        return Artifact(kind="card", path=super().ftk_export(run, model, tokenizer).path, summary="")


class Imagines(Card):
    @hookimpl
    def ftk_export(self, run, model, tokenizer):
        return Artifact(kind="card", path=Path(run.config[CardConfig].card_dir), summary="nothing")


class Elsewhere(Card):
    @hookimpl
    def ftk_export(self, run, model, tokenizer):
        return Artifact(kind="card", path=Path(__file__), summary="another file")


class WritesNothing(Card):
    @hookimpl
    def ftk_export(self, run, model, tokenizer):
        folder = Path(run.config[CardConfig].card_dir)
        folder.mkdir()
        return Artifact(kind="card", path=folder, summary="an empty folder")


class HalfWritten(Card):
    @hookimpl
    def ftk_export(self, run, model, tokenizer):
        folder = Path(run.config[CardConfig].card_dir)
        folder.mkdir(parents=True)
        self.write(folder, model)
        return Artifact(kind="card", path=folder, summary="shapes of all weights")


class Swallows(Card):
    def write(self, folder, model):
        try:
            super().write(folder, model)
        except OSError:
            (folder / "shapes.json").write_text("{}", encoding="utf-8")


class Locks(Card):
    """Leaves a folder that stops it the next time."""

    @hookimpl
    def ftk_export(self, run, model, tokenizer):
        lock = Path(run.config[CardConfig].card_dir).parent / "lock"
        if lock.exists():
            return None
        os.mkdir(lock)
        made = super().ftk_export(run, model, tokenizer)
        os.rmdir(lock)
        return made


TOLD = "test_it_says_what_it_wrote_and_where"
FULL = "test_on_a_full_disk_it_fails_and_leaves_nothing"
BROKEN = [
    (TOLD, Silent, "returned no Artifact"),
    (TOLD, Unsaid, "has no kind or no summary"),
    (TOLD, Imagines, "is not there"),
    (TOLD, Elsewhere, "is not where the keys say"),
    (TOLD, WritesNothing, "is empty"),
    (FULL, HalfWritten, "after a failure these are left: export/shapes.json"),
    (FULL, Swallows, "DID NOT RAISE"),
    ("test_it_can_be_done_again_after_a_failure", Locks, "after a failure it writes nothing"),
]


@pytest.mark.parametrize(("method", "broken", "message"), BROKEN)
def test_a_broken_exporter_is_caught(caught, tmp_path, method, broken, message):
    class Contract(CardContract):
        component = "exporter:broken"
        plugins = installed_with(plugin("card", offers={"exporter:broken": broken}, sections=[CardConfig]))

    assert message in caught(Contract, method, tmp_path=tmp_path)
