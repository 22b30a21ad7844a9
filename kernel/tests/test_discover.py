import subprocess
import sys
import time
import types

import pytest

from ftk import guard
from ftk.markers import hookimpl
from ftk.metadata import rows
from ftk.section import section


def errors(installed):
    return {p.dist: p.error for p in installed.plugins if p.error}


def test_plugins_come_in_the_order_of_their_distribution_names(plugin, install, component):
    eps = [plugin(f"ft-plugin-{n}", components=[component(f"addon:{n}")]) for n in ("zeta", "alpha", "mid")]
    assert [p.dist for p in install(*eps).plugins] == ["ft-plugin-alpha", "ft-plugin-mid", "ft-plugin-zeta"]


def raise_import_error():
    raise ImportError("No module named 'flash_attn_9'")


def exit_at_import():
    sys.exit(3)


def print_at_import():
    print("thank you for installing")
    return object()


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        (raise_import_error, "ImportError: No module named 'flash_attn_9'"),
        (exit_at_import, "calls sys.exit(3) while it is imported"),
        (print_at_import, "prints while it is declared: 'thank you for installing'"),
    ],
)
def test_a_plugin_that_misbehaves_at_import_is_quarantined_with_the_reason(
    plugin, install, component, load, reason, capsys
):
    good = plugin("ft-plugin-good", components=[component("addon:good")])
    installed = install(plugin("ft-plugin-bad", load=load), good)
    assert errors(installed) == {"ft-plugin-bad": reason}
    assert "addon:good" in installed.offered()
    assert capsys.readouterr() == ("", "")


def test_a_plugin_that_sleeps_is_interrupted(plugin, install, monkeypatch):
    monkeypatch.setattr(guard, "LIMIT", 0.2)
    start = time.monotonic()
    installed = install(plugin("ft-plugin-sleepy", load=lambda: time.sleep(30)))
    assert time.monotonic() - start < 5
    assert "took longer than" in errors(installed)["ft-plugin-sleepy"]


def test_a_plugin_that_imports_torch_is_quarantined(plugin, install, monkeypatch):
    def load():
        sys.modules["torch"] = sys.modules["types"]
        return object()

    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    del sys.modules["torch"]
    assert (
        "imports torch while it is declared" in errors(install(plugin("ft-plugin-heavy", load=load)))["ft-plugin-heavy"]
    )


def test_a_misspelt_hook_is_quarantined(plugin, install):
    installed = install(plugin("ft-plugin-typo", ftk_componets=lambda: [*()]))
    assert "ftk_componets" in errors(installed)["ft-plugin-typo"]


def test_a_wrong_hook_argument_is_quarantined(plugin, install):
    installed = install(plugin("ft-plugin-typo", ftk_check=lambda plam: []))
    assert "plam" in errors(installed)["ft-plugin-typo"]


def test_a_plugin_for_another_kernel_is_not_imported(plugin, install):
    loaded = []
    ep = plugin("ft-plugin-old", load=lambda: loaded.append(1), requires=["ftk-kernel>=7,<8", "torch; extra == 'x'"])
    reason = errors(install(ep))["ft-plugin-old"]
    assert reason == "ft-plugin-old 1.0 needs ftk-kernel<8,>=7, this is 0.1.0: pip install -U ft-plugin-old ftk-kernel"
    assert not loaded


def test_a_stranger_cannot_take_a_catalogued_component_or_key(plugin, install, component):
    @section("evil")
    class Evil:
        lora_rank: int = 1

    installed = install(
        plugin("evil-lora", components=[component("adapter:lora")]),
        plugin("evil-key", sections=[Evil]),
        plugin("ft-plugin-lora", components=[component("adapter:lora")]),
    )
    assert errors(installed) == {
        "evil-key": "key 'lora_rank' belongs to ft-plugin-lora",
        "evil-lora": "adapter:lora belongs to ft-plugin-lora",
    }


def test_of_two_strangers_with_one_name_neither_gets_it(plugin, install, component):
    installed = install(*(plugin(n, components=[component("addon:same")]) for n in ("a-one", "b-two")))
    assert errors(installed) == {
        "a-one": "addon:same is also claimed by b-two: uninstall one of them",
        "b-two": "addon:same is also claimed by a-one: uninstall one of them",
    }


def test_the_kernels_own_keys_cannot_be_taken(plugin, install):
    @section("mine")
    class Mine:
        seed: int = 1

    assert errors(install(plugin("ft-plugin-mine", sections=[Mine]))) == {
        "ft-plugin-mine": "key 'seed' belongs to ftk-kernel"
    }


def test_a_class_that_is_no_section_is_quarantined(plugin, install):
    class Plain:
        x: int = 1

    assert "is not a config section" in errors(install(plugin("ft-plugin-plain", sections=[Plain])))["ft-plugin-plain"]


@pytest.mark.parametrize(
    ("variable", "value", "left"),
    [("FTK_DISABLE", "ft_plugin.B", ["ft-plugin-a"]), ("FTK_PLUGINS", "ft-plugin-b", ["ft-plugin-b"])],
)
def test_plugins_are_chosen_by_distribution_name(plugin, install, component, monkeypatch, variable, value, left):
    monkeypatch.setenv(variable, value)
    eps = [plugin(f"ft-plugin-{n}", components=[component(f"addon:{n}")]) for n in "ab"]
    assert [p.dist for p in install(*eps).usable] == left


def test_rows_are_read_from_metadata_without_importing(plugin):
    (row,) = rows([plugin("ft-plugin-bad", load=raise_import_error)])
    assert (row.dist, row.version, row.summary, row.error) == ("ft-plugin-bad", "1.0", "bad for tests", "")


def test_a_hook_without_its_decorator_is_quarantined(plugin, install, component):
    module = types.ModuleType("bare")
    module.ftk_components = lambda: [component("addon:bare")]
    bare = plugin("ft-plugin-bare", load=lambda: module)
    assert errors(install(bare)) == {"ft-plugin-bare": "ftk_components lacks the @hookimpl decorator"}
    module.ftk_components = hookimpl(module.ftk_components)
    assert "addon:bare" in install(bare).offered()


def test_light_commands_import_nothing_heavy():
    for command in (["--help"], ["plugins"], ["version"], ["keys"]):
        code = (
            "import sys\nfrom ftk.cli.main import main\n"
            f"try:\n    main({command!r})\nexcept SystemExit as e:\n    assert not e.code, e.code\n"
            "from ftk.guard import HEAVY\nprint(sorted(HEAVY & set(sys.modules)), file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stderr.strip() == "[]", command
