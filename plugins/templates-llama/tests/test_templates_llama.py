"""The pack: the contract of packs, golden files, and vendors' own templates where they are at hand."""

from pathlib import Path

import pytest

import ft_plugin_templates_llama.plugin as plugin
from ft_plugin_templates.contract import CHECKS, check_golden
from ft_plugin_templates.originals import count_alike, find_originals
from ft_plugin_templates.pack import names, read
from ftk_sdk.contracts import PluginContract

PACKAGE = plugin.__package__

# template, original, in what it is one, conversations of the battery that both write alike
ORIGINALS = [
    # ollama-utils 0.0.18: llama2:7b
    ("llama2", "e8d5b5a546d3f19df16a5320c614fab05bdc4edd50e850f1afd947b503ea41cf", dict(), 13),
    # ollama-utils 0.0.18: llama4
    ("llama4", "01a91bfb2e84c8055bf7b635898fef3cae0b69e42ac5634c212d308e0e9091bd", dict(), 23),
    # ollama-utils 0.0.18: llama3.2-vision
    ("mllama", "53ff0dc467531d098a8bdd2ba38a3b2c157c9a90e96e16a0a79aa86476d47eea", dict(), 21),
    # ollama-utils 0.0.18: llama3.2-vision:90b
    ("mllama", "e407323269d15bba92fc431b5b7d757e66d920d01b45cae58149a692d7697d3c", dict(), 21),
    # tests of @huggingface/jinja: Llama-3.2-11B-Vision-Instruct
    ("mllama", "53ff0dc467531d098a8bdd2ba38a3b2c157c9a90e96e16a0a79aa86476d47eea", dict(), 21),
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
