import pytest


@pytest.fixture
def caught():
    """``caught(contract, "test_it_learns")`` is the text with which that assertion fails."""

    def call(contract: type, method: str, **fixtures) -> str:
        with pytest.raises((AssertionError, pytest.fail.Exception)) as failure:
            getattr(contract(), method)(**fixtures)
        return str(failure.value)

    return call
