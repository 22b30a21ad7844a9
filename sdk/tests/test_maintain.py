"""What is generated from plugins: the catalogue, dependencies, tables, the reference."""

import dataclasses
import json
import subprocess
import sys
from typing import Any, Literal

import pytest

from ftk.markers import hookspec
from ftk.problems import FtkError
from ftk.section import section
from ftk_sdk.maintain import catalog, extras, reference, tables
from ftk_sdk.maintain.packages import Package, find


@section("hum", enabled_by="use_hum")
class HumConfig:
    use_hum: bool = False
    """Hum while training. It helps, e.g. at night."""
    hum_pitch: Literal["low", "high"] | None = None
    """How high, ``low`` or ``high``."""
    hum_notes: list[str] = dataclasses.field(default_factory=lambda: ["a", "b"])
    """Notes | rests."""


class Hum(Package):
    """A distribution whose declarations need no files."""

    def sections(self):
        return [HumConfig]

    def components(self):
        return []


def hum(folder, **project):
    return Hum(folder, {"name": "ft-plugin-hum", "version": "0.1.0", **project})


def test_the_catalogue_says_of_each_key_its_owner_default_and_switch(tmp_path):
    data = catalog.from_plugins([hum(tmp_path)])
    assert data["keys"]["use_hum"] == ["ft-plugin-hum", False, "use_hum"]
    assert data["keys"]["hum_notes"] == ["ft-plugin-hum", ["a", "b"], "use_hum"]


def test_two_plugins_cannot_own_one_key(tmp_path):
    with pytest.raises(FtkError, match="'use_hum' is claimed by both ft-plugin-hum and ft-plugin-hum"):
        catalog.from_plugins([hum(tmp_path), hum(tmp_path)])


def test_a_plugin_that_exists_wins_over_reserved_names_and_that_is_noted(tmp_path):
    data = catalog.from_plugins([hum(tmp_path)])
    reserved = {
        "ft-plugin-later": {
            "keys": {"use_hum": True, "later_size": 1},
            "components": ["addon:later"],
            "switch": "later_size",
            "values": {"later_size": {"2*": "ft-plugin-much-later"}},
        }
    }
    notes = catalog.add_reserved(data, reserved)
    assert notes == ["ft-plugin-later need not reserve the key 'use_hum': ft-plugin-hum owns it"]
    assert data["keys"]["later_size"] == ["ft-plugin-later", 1, "later_size"]
    assert data["components"] == {"addon:later": "ft-plugin-later"}
    assert data["values"] == {"later_size": {"2*": "ft-plugin-much-later"}}


def test_the_catalogue_has_one_entry_per_line_and_is_json(tmp_path):
    data = catalog.from_plugins([hum(tmp_path)])
    text = catalog.text(data)
    assert json.loads(text) == data
    assert '  "hum_pitch": ["ft-plugin-hum", null, "use_hum"],\n' in text


def test_a_table_of_keys_says_in_words_what_may_be_written():
    assert tables.key_table([HumConfig]) == (
        "| key | type | default | meaning |\n"
        "| --- | --- | --- | --- |\n"
        "| `use_hum` | bool | `false` | Hum while training. |\n"
        "| `hum_pitch` | `low` or `high` or null | `null` | How high, `low` or `high`. |\n"
        '| `hum_notes` | list of str | `["a", "b"]` | Notes \\| rests. |\n'
    )


@pytest.mark.parametrize(
    ("doc", "sentence"),
    [
        ("One. Two.", "One."),
        ("At most e.g. 3 of them. More.", "At most e.g. 3 of them."),
        ("Below 1.5 it is a share", "Below 1.5 it is a share"),
        ("See arXiv:2402.09353 for more. And `x`.", "See arXiv:2402.09353 for more."),
    ],
)
def test_the_first_sentence_ends_where_a_reader_would_end_it(doc, sentence):
    assert tables.first_sentence(doc) == sentence


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (dict[str, Any], "mapping"),
        (list[float] | None, "list of float or null"),
        (int | float, "int or float"),
        (Any, "any"),
    ],
)
def test_types_are_told_in_words(hint, text):
    assert tables.type_text(hint) == text


def test_a_readmes_table_is_replaced_in_place(tmp_path):
    old = "# Hum\n\nProse.\n\n| key | type | default | meaning |\n| --- | --- | --- | --- |\n| `old` | a | b | c |\n\nMore.\n"
    (tmp_path / "README.md").write_text(old, encoding="utf-8")
    new = tables.readme_of(hum(tmp_path))
    assert new == f"# Hum\n\nProse.\n\n{tables.key_table([HumConfig])}\nMore.\n"
    (tmp_path / "README.md").write_text(new, encoding="utf-8")
    assert tables.readme_of(hum(tmp_path)) == new


def test_a_readme_without_a_table_gets_one_at_its_end(tmp_path):
    (tmp_path / "README.md").write_text("# Hum\n", encoding="utf-8")
    assert tables.readme_of(hum(tmp_path)) == f"# Hum\n\n{tables.key_table([HumConfig])}"


def make_repository(top):
    for folder, name in (
        ("kernel", "ftk-kernel"),
        ("sdk", "ftk-sdk"),
        ("plugins/b", "ft-plugin-b"),
        ("plugins/a", "ft-plugin-a"),
    ):
        (top / folder / "src").mkdir(parents=True)
        project = f'[project]\nname = "{name}"\nversion = "0.1.0"\ndescription = "What {name} is"\n'
        (top / folder / "pyproject.toml").write_text(project, encoding="utf-8")
    return top


def test_the_suite_depends_on_every_plugin_and_nothing_else_of_the_file_changes(tmp_path):
    make_repository(tmp_path)
    source = '[project]\nname = "suite"\ndependencies = []\n\n[build-system]\nrequires = ["x"]\n'
    (tmp_path / "pyproject.toml").write_text(source, encoding="utf-8")
    text = extras.text(tmp_path)
    wanted = '    "ftk-kernel==0.1.0",\n    "ft-plugin-a==0.1.0",\n    "ft-plugin-b==0.1.0",\n'
    assert text.startswith(f'[project]\nname = "suite"\ndependencies = [\n{wanted}]\n')
    assert '\n[project.optional-dependencies]\nsdk = [\n    "ftk-sdk[models]==0.1.0",\n]\n\n[build-system]\n' in text
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    assert extras.text(tmp_path) == text


def test_the_table_of_plugins_stands_between_its_markers(tmp_path):
    make_repository(tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text("# Top\n<!-- plugins -->\nold\n<!-- /plugins -->\nEnd\n", encoding="utf-8")
    rows = "| [ft-plugin-a](plugins/a) | What ft-plugin-a is | 0 |\n| [ft-plugin-b](plugins/b) | What ft-plugin-b is | 0 |\n"
    table = f"| plugin | what | keys |\n| --- | --- | --- |\n{rows}"
    assert tables.table_of_plugins(tmp_path) == f"# Top\n<!-- plugins -->\n{table}<!-- /plugins -->\nEnd\n"
    readme.write_text("# Top\n", encoding="utf-8")
    with pytest.raises(FtkError, match="README.md needs the markers"):
        tables.table_of_plugins(tmp_path)


class Specs:
    """Hooks of a test."""

    @hookspec(firstresult=True)
    def ftk_hum(self, run: "Run", loud: "bool" = False) -> "str | None":  # noqa: F821
        """Hum.

        Called   once,
            at night
        Returns  what was hummed
        Default  nothing
        Example  ``return "a"``
        """


def test_a_hooks_signature_is_as_it_was_written():
    ((name, function, options),) = reference.hooks_of(Specs)
    assert reference.signature(name, function) == "ftk_hum(run: Run, loud: bool = False) -> str | None"
    assert options["firstresult"]


def test_a_hooks_docstring_is_parted_at_its_headings():
    assert reference.headings(Specs.ftk_hum.__doc__.replace("        ", ""))[0] == ("Called", "once, at night")


def test_distributions_are_found_by_name(tmp_path):
    assert [p.name for p in find(make_repository(tmp_path), "plugins/*")] == ["ft-plugin-a", "ft-plugin-b"]


def test_a_word_that_is_no_task_is_refused():
    command = [sys.executable, "-m", "ftk_sdk.maintain", "catalogue"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("usage: python -m ftk_sdk.maintain catalog|extras|")
