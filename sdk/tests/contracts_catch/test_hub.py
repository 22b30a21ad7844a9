"""The hub contract passes a good hub, and each of its assertions catches a broken one."""

import itertools
from pathlib import Path

import pytest

from ftk.contracts import ModelLocation
from ftk.markers import hookimpl
from ftk.problems import RunError
from ftk_sdk.contracts import HubContract
from ftk_sdk.fakes import installed_with, plugin

SHELF = {}
COPIES = itertools.count()


class Shelf:
    @hookimpl
    def ftk_locate_model(self, run, name):
        if not name.startswith("shelf:"):
            return None
        book = name.partition(":")[2]
        if book not in SHELF:
            raise RunError(f"the shelf has no model {book!r}")
        return ModelLocation(path=SHELF[book])


class ShelfContract(HubContract):
    missing = "shelf:unwritten"

    def publish(self, folder):
        (folder / "config.json").write_text("{}", encoding="utf-8")
        SHELF["novel"] = str(folder)
        return self.run(), "shelf:novel"


class TestAGoodHub(ShelfContract):
    component = "hub:shelf"
    plugins = installed_with(plugin(offers={"hub:shelf": Shelf}))


class Nowhere:
    @hookimpl
    def ftk_locate_model(self, run, name):
        return ModelLocation(path="/no/such/folder")


class Empty:
    @hookimpl
    def ftk_locate_model(self, run, name):
        folder = Path(SHELF["novel"]) / "empty"
        folder.mkdir(exist_ok=True)
        return ModelLocation(path=str(folder))


class Moves:
    @hookimpl
    def ftk_locate_model(self, run, name):
        return ModelLocation(path=f"{SHELF['novel']}/{next(COPIES)}")


class Raises:
    @hookimpl
    def ftk_locate_model(self, run, name):
        return ModelLocation(path=SHELF[name.partition(":")[2]])


class Vague:
    @hookimpl
    def ftk_locate_model(self, run, name):
        raise RunError("download failed")


MISSING = "test_a_name_that_it_does_not_have_is_an_error_that_names_it"
BROKEN = [
    ("test_a_name_of_its_own_is_located", Nowhere, "where nothing is"),
    ("test_a_name_of_its_own_is_located", Empty, "which is empty"),
    ("test_locating_twice_gives_one_place", Moves, "the second call gives another place"),
    ("test_a_name_of_another_form_is_left_to_others", Nowhere, "'gpt2' is not of its form"),
    (MISSING, Nowhere, "is not there, and it was located at"),
    (MISSING, Raises, "raised KeyError"),
    (MISSING, Vague, "the error does not name"),
]


@pytest.mark.parametrize(("method", "broken", "message"), BROKEN)
def test_a_broken_hub_is_caught(caught, tmp_path, method, broken, message):
    class Contract(ShelfContract):
        component = "hub:broken"
        plugins = installed_with(plugin(offers={"hub:broken": broken}))

    fixtures = {"name": "gpt2"} if "another_form" in method else {}
    assert message in caught(Contract, method, tmp_path=tmp_path, **fixtures)
