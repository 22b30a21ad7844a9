import torch
from ft_plugin_skeleton_name import plugin
from ft_plugin_skeleton_name.optimizer import SignDescent

from ftk_sdk.contracts import OptimizerContract, PluginContract


class TestPlugin(PluginContract):
    plugin = plugin


class TestSkeletonName(OptimizerContract):
    component = "optimizer:skeleton-name"
    keys = {"optim": "skeleton-name", "learning_rate": 1e-2}


def test_every_weight_moves_by_the_learning_rate():
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
    weight.grad = torch.tensor([0.001, -5.0, 0.0])
    SignDescent([weight], lr=0.1, momentum=0.9).step()
    assert torch.allclose(weight, torch.tensor([0.9, 2.1, 3.0]))
