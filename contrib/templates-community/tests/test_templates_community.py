"""The pack keeps the contract of packs, and what is its own."""

import ft_contrib_templates_community.plugin as plugin
from ft_plugin_templates.contract import PackContract
from ftk_sdk.contracts import PluginContract
from ftk_sdk.tiny import tiny_tokenizer


class TestPlugin(PluginContract):
    plugin = plugin


class TestPack(PackContract):
    plugin = plugin


def test_a_run_names_it_like_any_other_template_and_its_settings_apply(ftk_run):
    run = ftk_run({"template": "vicuna", "default_system": "Be kind."}, components=["template:vicuna"])
    template = run.load_template(tiny_tokenizer())
    assert (
        template.render([{"role": "user", "content": "Hi"}], generation_prompt=True) == "Be kind. USER: Hi ASSISTANT:"
    )
    assert not [p for p in run.plan.problems if "no effect" in p.message]
