"""Fixtures for the tests of plugins. Loaded by pytest wherever ftk-sdk is installed."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny Llama and its tokenizer."""
    from .tiny import write_tiny_model  # torch, for the tests that want it only

    return write_tiny_model(tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture
def ftk_run(tmp_path: Path):
    """``make_run`` with an output folder of the test's own."""
    from .testing import make_run

    def make(keys: dict | None = None, **options):
        return make_run({"output_dir": str(tmp_path / "out"), **(keys or {})}, **options)

    return make
