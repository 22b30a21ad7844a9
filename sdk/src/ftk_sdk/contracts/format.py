"""What holds for every data format."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest

from ftk.contracts import DatasetSpec, Example, Formatter
from ftk.problems import RowError

from .subject import Subject


class FormatContract(Subject):
    """Set ``component``, ``read`` and ``refused``; ``spec`` where the format needs more than its name."""

    read: ClassVar[Sequence[tuple[Mapping[str, Any], Example]]]
    """Rows, each with the example that it is."""
    refused: ClassVar[Sequence[Mapping[str, Any]]]
    """Rows that no example can be made of: a column missing, a wrong type, an unknown role."""
    spec: ClassVar[Mapping[str, Any]] = {}
    """Fields of ``DatasetSpec`` other than its names: ``columns``, ``tags``, ``ranking``."""

    def formatter(self) -> Formatter:
        name = self.component.partition(":")[2]
        spec = DatasetSpec(name="rows", source="local", location="rows.json", formatting=name, **self.spec)
        return self.run().formatter(spec)

    def test_rows_become_these_examples(self):
        assert self.read, "give at least one row that it reads"
        formatter = self.formatter()
        for row, wanted in self.read:
            made = formatter(row)
            assert made == wanted, f"{row!r} became\n{made!r}, not\n{wanted!r}"

    def test_a_row_that_it_cannot_use_is_a_row_error(self):
        assert self.refused, "give at least one row that it refuses"
        formatter = self.formatter()
        for row in self.refused:
            try:
                made = formatter(row)
            except RowError as e:
                assert str(e), f"{row!r} is refused without a reason"
            except Exception as e:
                pytest.fail(f"{row!r} raised {type(e).__name__}: {e}; a row that it cannot use is a RowError")
            else:
                pytest.fail(f"{row!r} should be refused, and became {made!r}")

    def test_it_leaves_the_row_as_it_was(self):
        formatter = self.formatter()
        for row, _ in self.read:
            given = copy.deepcopy(dict(row))
            formatter(given)
            assert given == row, f"it changed the row to {given!r}"

    def test_it_can_be_sent_to_a_worker_process(self):
        formatter = self.formatter()
        try:
            copied = pickle.loads(pickle.dumps(formatter))
        except Exception as e:
            pytest.fail(f"it cannot be pickled: {e}; make it a function of the module, or functools.partial of one")
        for row, wanted in self.read:
            assert copied(row) == wanted
