import inspect

import pytest


@pytest.fixture
def caught():
    """``caught(contract, "test_it_learns")`` is the text with which that assertion fails. It takes what it wants."""

    def call(contract: type, method: str, **fixtures) -> str:
        test = getattr(contract(), method)
        wanted = inspect.signature(test).parameters
        with pytest.raises((AssertionError, pytest.fail.Exception)) as failure:
            test(**{name: value for name, value in fixtures.items() if name in wanted})
        return str(failure.value)

    return call
