"""The names kept for plugins to come: data that the kernel's catalogue is generated from."""

import json
from collections import Counter
from pathlib import Path

from ftk.kinds import KINDS

PATH = Path(__file__).parents[1] / "src" / "ftk_sdk" / "reserved.json"
RESERVED = json.loads(PATH.read_text(encoding="utf-8"))
KEYS = Counter(key for entry in RESERVED.values() for key in entry["keys"])
COMPONENTS = Counter(component for entry in RESERVED.values() for component in entry["components"])


def test_the_file_is_sorted_and_written_in_one_way():
    assert PATH.read_text(encoding="utf-8") == json.dumps(RESERVED, indent=2, sort_keys=True) + "\n"
    assert all(entry["components"] == sorted(entry["components"]) for entry in RESERVED.values())


def test_every_entry_has_the_fields_that_the_catalogue_reads():
    for dist, entry in RESERVED.items():
        assert dist.startswith("ft-plugin-")
        assert (
            {"summary", "switch", "keys", "components"}
            <= set(entry)
            <= {"summary", "switch", "keys", "components", "values"}
        ), dist
        assert entry["summary"], dist
        assert entry["keys"] or entry["components"], dist


def test_no_key_is_reserved_twice():
    assert [key for key, times in KEYS.items() if times > 1] == []


def test_no_component_is_reserved_twice():
    assert [component for component, times in COMPONENTS.items() if times > 1] == []


def test_components_are_of_kinds_that_the_kernel_orders():
    assert [c for c in COMPONENTS if c.partition(":")[0] not in KINDS or not c.partition(":")[2]] == []


def test_a_switch_is_a_reserved_key_or_selects_an_engine():
    for dist, entry in RESERVED.items():
        selects = "infer_backend" if any(c.startswith("engine:") for c in entry["components"]) else None
        assert entry["switch"] is None or entry["switch"] in entry["keys"] or entry["switch"] == selects, dist


def test_a_value_leads_to_a_reserved_distribution():
    for dist, entry in RESERVED.items():
        for key, patterns in entry.get("values", {}).items():
            assert key in entry["keys"], dist
            assert set(patterns.values()) <= set(RESERVED), dist
