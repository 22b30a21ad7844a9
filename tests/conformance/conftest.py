from __future__ import annotations

import os
from pathlib import Path

import pytest
from transformers import AutoTokenizer

FOLDER = Path(os.environ.get("FTK_CONFORMANCE_DIR", "/nonexistent"))


@pytest.fixture(scope="session")
def conformance_dir() -> Path:
    """What ``fetch.py`` fetched."""
    if not FOLDER.is_dir():
        pytest.skip("FTK_CONFORMANCE_DIR names no folder: make test-conformance")
    return FOLDER


@pytest.fixture(scope="session")
def load(conformance_dir):
    """A vendor's tokenizer, made once."""
    made = {}

    def tokenizer(name: str):
        if name not in made:
            made[name] = AutoTokenizer.from_pretrained(conformance_dir / name)
        return made[name]

    return tokenizer
