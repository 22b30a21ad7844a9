"""No assertion of a contract is without a broken component that it catches."""

import sys
from pathlib import Path

import pytest

from ftk_sdk import contracts


@pytest.mark.parametrize("name", contracts.__all__)
def test_every_assertion_is_proved(name):
    module = sys.modules[getattr(contracts, name).__module__]
    proofs = Path(__file__).with_name(f"test_{module.__name__.rpartition('.')[2]}.py").read_text(encoding="utf-8")
    methods = [method for method in dir(getattr(contracts, name)) if method.startswith("test_")]
    assert methods
    assert [method for method in methods if f'"{method}"' not in proofs] == []


@pytest.mark.parametrize("path", sorted(Path(contracts.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_a_contract_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 150
