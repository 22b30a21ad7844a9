"""What holds for every hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftk.problems import FtkError
from ftk.run import Run

from .subject import Subject


class HubContract(Subject):
    """Set ``component`` and ``keys``, and write ``publish`` and ``missing``."""

    def publish(self, folder: Path) -> tuple[Run, str]:
        """Put a small model where the hub finds it, using ``folder``; returns a run, and the name that users write."""
        raise NotImplementedError

    missing: str
    """A name of the hub's form that it does not have."""

    def test_a_name_of_its_own_is_located(self, tmp_path):
        run, name = self.publish(tmp_path)
        found = run.locate_model(name)
        path = Path(found.path)
        assert found.path != name and path.exists(), f"{name!r} was located at {found.path!r}, where nothing is"
        assert path.is_file() or any(path.iterdir()), f"{name!r} was located in {found.path!r}, which is empty"

    def test_locating_twice_gives_one_place(self, tmp_path):
        run, name = self.publish(tmp_path)
        assert run.locate_model(name) == run.locate_model(name), "the second call gives another place"

    @pytest.mark.parametrize("name", ["gpt2", "owner/model", "./folder", "other-hub:model"])
    def test_a_name_of_another_form_is_left_to_others(self, tmp_path, name):
        run, _ = self.publish(tmp_path)
        found = run.single("ftk_locate_model", run=run, name=name)
        assert found is None, f"{name!r} is not of its form, and it located {found}"

    def test_a_name_that_it_does_not_have_is_an_error_that_names_it(self, tmp_path):
        run, _ = self.publish(tmp_path)
        try:
            found = run.locate_model(self.missing)
        except FtkError as e:
            assert self.missing.partition(":")[2] in str(e), f"the error does not name {self.missing!r}: {e}"
        except Exception as e:
            pytest.fail(f"{self.missing!r} raised {type(e).__name__}: {e}; raise a RunError that says what to do")
        else:
            pytest.fail(f"{self.missing!r} is not there, and it was located at {found.path!r}")
