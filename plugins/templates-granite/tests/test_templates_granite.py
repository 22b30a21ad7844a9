"""The pack: the contract of packs, golden files, and vendors' own templates where they are at hand."""

from pathlib import Path

import pytest

import ft_plugin_templates_granite.plugin as plugin
from ft_plugin_templates.contract import CHECKS, check_golden
from ft_plugin_templates.originals import count_alike, find_originals
from ft_plugin_templates.pack import names, read
from ftk_sdk.contracts import PluginContract

PACKAGE = plugin.__package__

# template, original, in what it is one, conversations of the battery that both write alike
ORIGINALS = [
    # llama.cpp's tests: granite-3.0-8b-instruct
    ("granite3", "09d68eeb5c0eaa551adea6cc088a05c7298966f395f203126e76b74f5a77a8ff", dict(without=["tools"]), 16),
    # ollama-utils 0.0.18: granite3.1-moe:1b
    (
        "granite3",
        "08962c2f15d56767854b46dfc4070b37f4c443551833bba65b417191735f3187",
        dict(without=["no system", "tools"]),
        4,
    ),
    # ollama-utils 0.0.18: granite3.2:8b
    (
        "granite3",
        "2216d3c3e5056029f148e6c980658f4e5b068f5c63dfbf18758dcc77c13350a0",
        dict(without=["no system", "tools"]),
        4,
    ),
    # ollama-utils 0.0.18: granite3.3:2b
    ("granite3", "8a58e18acd9ca00a43a285fe6ba3760efbda06b5ab7fb57875bfacd72957ed5e", dict(without=["no system"]), 4),
    # ollama-utils 0.0.18: granite3.2-vision:2b
    (
        "granite3_vision",
        "e12c4dc646c106495214104412193be02c4a68ea52418bb530c769aa45d9dfa8",
        dict(without=["tools", "late system"]),
        15,
    ),
    # llama.cpp: ibm-granite-granite-4.1 and ollama-utils 0.0.18: granite4
    ("granite4", "fed2756d2d24e127b951dcf139d0b03ab7db8ef23a456128ebc9c2db4901d476", dict(), 23),
    # llama.cpp: ibm-granite-granite-4.0
    (
        "granite4",
        "9524df67b77a7b25a2dfee898f75b316a157eb9d855b51e32aeac79d7c8a83ce",
        dict(without=["no system", "empty system"]),
        4,
    ),
]


class TestPlugin(PluginContract):
    plugin = plugin


@pytest.mark.parametrize("name", names(PACKAGE))
def test_a_template_renders_what_its_golden_file_says(name):
    check_golden(PACKAGE, name, Path(__file__).parent / "golden")


@pytest.mark.parametrize("name", names(PACKAGE))
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_template_keeps_the_contract(name, check):
    check(PACKAGE, name)


@pytest.mark.parametrize(("name", "digest", "options", "number"), ORIGINALS)
def test_a_template_writes_what_the_original_writes(name, digest, options, number):
    if digest not in find_originals():
        pytest.skip("the original is not at hand")
    assert count_alike(PACKAGE, name, find_originals()[digest], **options) == number


def test_what_a_file_calls_an_original_is_compared_with():
    compared = {(name, digest) for name, digest, *_ in ORIGINALS}
    assert {(name, digest) for name in names(PACKAGE) for digest in read(PACKAGE, name).originals} <= compared
