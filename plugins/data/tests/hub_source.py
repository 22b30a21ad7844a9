"""For sources that read a hub through its own package, in whose place, as it has pins of its own, stands one of ours."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import datasets
import pytest

from ftk.contracts import DatasetSpec
from ftk.problems import ConfigError, RunError
from ftk_sdk.testing import make_plan, make_run


def standing_in(plugin: ModuleType, file: str, code: str, folder: Path, monkeypatch) -> Iterator[Path]:
    """For a fixture: the folder, while ``code`` is imported as ``file`` of the hub's package."""
    path = folder / "site" / file
    path.parent.mkdir(parents=True)
    (path.parent / "__init__.py").touch()
    path.write_text(code)
    monkeypatch.syspath_prepend(str(folder / "site"))
    yield folder
    ours, its = plugin.__package__, path.parent.name
    for name in [name for name in sys.modules if name.partition(".")[0] in (its, ours)]:
        if name not in (plugin.__name__, ours):
            del sys.modules[name]


def write_rows(folder: Path, rows) -> str:
    (folder / "rows.json").write_text(json.dumps(list(rows)))
    return str(folder / "rows.json")


class HubRequests:
    """What the package is asked for, and what is said where it or the data is not there.

    The test file has a fixture ``package``, whose ``module`` lists in ``ASKED`` the name and the options of each call;
    to it 'org/missing' is not there.
    """

    source: ClassVar[str]
    """Its name, which is that of the hub's package too."""
    hub: ClassVar[str]
    """As people call it."""
    module: ClassVar[str]
    token: ClassVar[str]
    """The key of the token."""
    variable: ClassVar[str]
    """Of the environment: ids without a prefix are the hub's."""
    options: ClassVar[Mapping[str, Any]]
    """What the package is asked for subset 'part', folder 'inner' and split 'test'."""

    def plan(self, dataset: str):
        return make_plan({"stage": "pt", "finetuning_type": "full", "model_name_or_path": "x", "dataset": dataset})

    def opened(self, folder: Path, spec: Mapping[str, str], **keys):
        run = make_run({"output_dir": str(folder / "out"), **keys}, components=[f"source:{self.source}", "loader:hf"])
        given = {"name": "x", "source": self.source, "location": "org/name", "formatting": "alpaca", **spec}
        return run.open_source(DatasetSpec(**given)), sys.modules[self.module].ASKED

    def test_name_split_folder_and_token_are_passed_on(self, package):
        spec = {"subset": "part", "split": "test", "folder": "inner", "revision": "v1"}
        data, asked = self.opened(package, spec, **{self.token: "secret"})
        assert data.to_list() == [{"instruction": "a", "output": "b"}]
        assert asked == [("org/name", {**self.options, "revision": "v1", "token": "secret"})]
        assert isinstance(data, datasets.Dataset)

    def test_what_the_hub_refuses_is_told_in_one_line(self, package):
        with pytest.raises(RunError) as error:
            self.opened(package, {"location": "org/missing"})
        text = f"dataset 'org/missing' of {self.hub} cannot be read: 404: no such dataset long trace"
        assert str(error.value).splitlines()[0] == text

    def test_a_run_without_the_package_is_told_what_to_install(self):
        with pytest.raises(ConfigError) as error:
            self.plan(f"{self.source}:org/name")
        assert f"source:{self.source} needs the package '{self.source}'" in str(error.value)
        assert f"pip install {self.source}" in str(error.value)

    def test_ids_without_a_prefix_are_its_own_where_the_variable_says_so(self, monkeypatch, package):
        monkeypatch.setenv(self.variable, "1")
        assert f"source:{self.source}" in self.plan("org/name")
        monkeypatch.delenv(self.variable)
        assert f"source:{self.source}" not in self.plan("org/name")
