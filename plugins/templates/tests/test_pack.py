"""The pack: each template against its golden file and the contract of packs."""

from pathlib import Path

import pytest

from ft_plugin_templates.contract import CHECKS, check_golden
from ft_plugin_templates.pack import names

PACKAGE = "ft_plugin_templates"


@pytest.mark.parametrize("name", names(PACKAGE))
def test_a_template_renders_what_its_golden_file_says(name):
    check_golden(PACKAGE, name, Path(__file__).parent / "golden")


@pytest.mark.parametrize("name", names(PACKAGE))
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_template_keeps_the_contract(name, check):
    check(PACKAGE, name)
