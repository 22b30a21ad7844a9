import torch
from ft_plugin_skeleton_name import plugin
from ft_plugin_skeleton_name.addon import with_dropout

from ftk_sdk.contracts import AddonContract, PluginContract
from ftk_sdk.tiny import tiny_llama


class TestPlugin(PluginContract):
    plugin = plugin


class TestSkeletonName(AddonContract):
    component = "addon:skeleton-name"
    keys = {"skeleton_name_rate": 0.1}


def test_embeddings_are_dropped_in_training_only():
    embed = with_dropout(tiny_llama(), rate=0.5).get_input_embeddings()
    ids = torch.arange(64)
    assert torch.equal(embed.eval()(ids), embed.weight[:64])
    dropped = (embed.train()(ids) == 0).float().mean().item()
    assert 0.4 < dropped < 0.6
