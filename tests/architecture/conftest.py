from pathlib import Path

import pytest

from ftk_sdk.maintain import packages


@pytest.fixture(scope="session")
def root() -> Path:
    return packages.root()
