from ft_plugin_skeleton_name import plugin

from ftk_sdk.contracts import EngineContract, PluginContract


class TestPlugin(PluginContract):
    plugin = plugin


class TestSkeletonName(EngineContract):
    component = "engine:skeleton-name"
    keys = {"infer_backend": "skeleton-name"}

    def test_it_stops_where_the_template_says(self, engine):
        engine.next_token = lambda ids: engine.tokenizer.eos_token_id
        assert self.answer(engine) == ""
