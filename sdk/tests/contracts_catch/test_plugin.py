"""The plugin contract passes the plugins of the suite, and each of its assertions catches a broken one."""

import sys
import types

import pytest

import ft_plugin_dora.plugin
import ft_plugin_lora.plugin
from ftk.markers import hookimpl
from ftk.section import section
from ftk_sdk.contracts import PluginContract
from ftk_sdk.fakes import installed_with, plugin


class TestDora(PluginContract):
    plugin = ft_plugin_dora.plugin


class TestLora(PluginContract):
    plugin = ft_plugin_lora.plugin


class Empty: ...


class Wrapper:
    @hookimpl
    def ftk_callbacks(self, run):
        return []


class Misspelt:
    @hookimpl
    def ftk_callback(self, run):
        return []


class Unbuildable(Wrapper):
    def __init__(self, size):
        self.size = size


@section("fake")
class NoDefault:
    fake_size: int
    """How large."""


@section("fake")
class NoDocstring:
    fake_size: int = 1


@section("fake")
class NoPrefix:
    size: int = 1
    """How large."""


@section("fake")
class NotInReadme:
    fake_size: int = 1
    """How large."""


def exits():
    sys.exit(1)


ADDON = {"addon:fake": Wrapper}
LOADABLE = "test_every_target_can_be_loaded_and_implements_known_hooks"
KIND = "test_every_component_is_of_a_kind_and_has_a_summary"
KEY = "test_every_key_has_a_default_and_a_docstring"
RANGE = "test_its_metadata_names_a_range_of_kernels"
UNASKED = "test_installing_it_changes_no_run_that_does_not_ask_for_it"
BROKEN = [
    ("test_it_is_usable", {"hooks": {"ftk_aliases": exits}}, "discovery quarantines it: calls sys.exit(1)"),
    (RANGE, {"requires": ()}, "its dependencies do not name ftk-kernel"),
    (RANGE, {"requires": ("ftk-kernel",)}, "and end before 0.2.0"),
    (LOADABLE, {"offers": {"addon:fake": Empty}}, "implements no hook"),
    (LOADABLE, {"offers": ADDON, "fields": {"args": {"who": "me"}}}, "takes no arguments"),
    (LOADABLE, {"offers": {"addon:fake": Misspelt}}, "unknown hook 'ftk_callback'"),
    (LOADABLE, {"offers": {"addon:fake": Unbuildable}}, "missing 1 required positional argument: 'size'"),
    (KIND, {"offers": {"adon:fake": Wrapper}}, "no kind 'adon'"),
    (KIND, {"offers": ADDON, "fields": {"summary": ""}}, "addon:fake has no summary"),
    (KEY, {"sections": [NoDefault]}, "fake_size has no default"),
    (KEY, {"sections": [NoDocstring]}, "fake_size has no docstring below it"),
    ("test_its_keys_are_catalogued_or_start_with_its_name", {"sections": [NoPrefix]}, "'size' must start with 'fake'"),
    (UNASKED, {"offers": ADDON, "fields": {"default": True}}, "changes what an empty config plans to train"),
]


@pytest.mark.parametrize(("method", "declared", "message"), BROKEN)
def test_a_broken_plugin_is_caught(caught, method, declared, message):
    made = plugin(**declared)

    class Contract(PluginContract):
        plugin = made.module
        plugins = installed_with(made)

    assert message in caught(Contract, method)


def test_a_plugin_under_another_name_is_caught(caught):
    made = plugin(offers=ADDON)
    made.name = "other"

    class Contract(PluginContract):
        plugin = made.module
        plugins = installed_with(made)

    assert "is named 'other', not 'fake'" in caught(Contract, "test_its_entry_point_has_its_name")


def test_a_plugin_that_is_not_installed_is_caught(caught):
    class Contract(PluginContract):
        plugin = types.ModuleType("ft_plugin_absent.plugin")

    assert "is not installed under the entry-point group" in caught(Contract, "test_it_is_usable")


def test_a_plugin_that_imports_something_heavy_when_it_is_listed_is_caught(caught, tmp_path, monkeypatch):
    (tmp_path / "ft_plugin_heavy.py").write_text("import numpy\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    class Contract(PluginContract):
        plugin = types.ModuleType("ft_plugin_heavy")

    message = caught(Contract, "test_listing_it_imports_nothing_heavy")
    assert "listing it imports numpy; move that to a component's target" in message


def test_a_readme_without_the_table_of_keys_is_caught(caught):
    made = plugin(sections=[NotInReadme])

    class Contract(PluginContract):
        plugin = made.module
        plugins = installed_with(made)

        def readme(self):
            return "# ft-plugin-fake\n"

    message = caught(Contract, "test_its_readme_has_the_table_of_its_keys")
    assert "| `fake_size` | int | `1` | How large. |" in message
