"""The pack keeps the contract of packs."""

from pathlib import Path

import pytest

import ft_contrib_templates_community.plugin as plugin
from ft_plugin_templates.contract import CHECKS, check_golden
from ft_plugin_templates.pack import names
from ftk_sdk.contracts import PluginContract
from ftk_sdk.tiny import tiny_tokenizer

PACKAGE = plugin.__package__


class TestPlugin(PluginContract):
    plugin = plugin


@pytest.mark.parametrize("name", names(PACKAGE))
def test_a_template_renders_what_its_golden_file_says(name):
    check_golden(PACKAGE, name, Path(__file__).parent / "golden")


@pytest.mark.parametrize("name", names(PACKAGE))
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_template_keeps_the_contract(name, check):
    check(PACKAGE, name)


def test_a_run_names_it_like_any_other_template_and_its_settings_apply(ftk_run):
    run = ftk_run({"template": "vicuna", "default_system": "Be kind."}, components=["template:vicuna"])
    template = run.load_template(tiny_tokenizer())
    assert (
        template.render([{"role": "user", "content": "Hi"}], generation_prompt=True) == "Be kind. USER: Hi ASSISTANT:"
    )
    assert not [p for p in run.plan.problems if "no effect" in p.message]
