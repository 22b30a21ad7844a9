"""What holds for every exporter."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ftk.contracts import Artifact

from ..tiny import tiny_llama, tiny_tokenizer
from .subject import Subject


class ExporterContract(Subject):
    """Set ``component``, and write ``keys_for``."""

    def keys_for(self, folder: Path) -> Mapping[str, Any]:
        """Keys with which the exporter writes inside ``folder``, where nothing is yet."""
        raise NotImplementedError

    def export(self, folder: Path) -> list[Artifact]:
        run = self.run(self.keys_for(folder), action="export")
        return run.export(tiny_llama(), tiny_tokenizer())

    def test_it_says_what_it_wrote_and_where(self, tmp_path):
        made = self.export(tmp_path / "export")
        assert made, f"{self.component} returned no Artifact"
        for artifact in made:
            assert artifact.kind and artifact.summary, f"{artifact} has no kind or no summary"
            path = artifact.path
            assert path.exists(), f"{path} is not there"
            assert path.is_relative_to(tmp_path), f"{path} is not where the keys say"
            assert path.is_file() or any(path.iterdir()), f"{path} is empty"

    def test_on_a_full_disk_it_fails_and_leaves_nothing(self, tmp_path):
        before = files(tmp_path)
        with full_disk(after=20_000), pytest.raises(Exception) as caught:
            self.export(tmp_path / "export")
        assert not isinstance(caught.value, (AssertionError, NotImplementedError)), caught.value
        left = files(tmp_path) - before
        assert not left, f"after a failure these are left: {', '.join(sorted(left))}"

    def test_it_can_be_done_again_after_a_failure(self, tmp_path):
        with full_disk(after=20_000), contextlib.suppress(Exception):
            self.export(tmp_path / "export")
        assert self.export(tmp_path / "export"), "after a failure it writes nothing"


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@contextlib.contextmanager
def full_disk(after: int) -> Iterator[None]:
    """Let no file grow beyond ``after`` bytes: writing then fails as it does where no space is left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
