"""The pack: the contract of packs, golden files, and vendors' own templates where they are at hand."""

from pathlib import Path

import pytest

import ft_plugin_templates_phi.plugin as plugin
from ft_plugin_templates.contract import CHECKS, check_golden
from ft_plugin_templates.originals import count_alike, find_originals
from ft_plugin_templates.pack import names, read
from ftk_sdk.contracts import PluginContract

PACKAGE = plugin.__package__

# template, original, in what it is one, conversations of the battery that both write alike
ORIGINALS = [
    # trl 1.16 phi3_5.jinja
    ("phi", "78d976a442bcde2f0be15aafbb8e3050e1104f86732266f68403251b89982a90", dict(), 16),
    # trl 1.16 phi3.jinja
    ("phi", "dcaee66df77bfbb789ec541fe713218da30225a526f1db97138fc39ee6dc56aa", dict(without=["empty system"]), 15),
    # llama.cpp's tests: Phi-3-small
    ("phi_small", "b0e53f5e7bae6fdb93013abeceef343e8841cce87def2601e7269a53439b5740", dict(), 16),
    # onnxruntime-extensions' tests: phi-4-base
    ("phi4", "fe4120415a3858b873955c92ce3a103a95bc97c2cb00b72e62659aaf0f891ee5", dict(), 16),
    # ollama-utils 0.0.18: phi4-mini:3.8b
    ("phi4_mini", "febf589225c9728ab791f52e8897d7607a823d45368f0a4c92fa68997b40cce9", dict(), 16),
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
