import torch
from ft_plugin_skeleton_name import plugin
from ft_plugin_skeleton_name.loss import focal_loss

from ftk_sdk.contracts import LossContract, PluginContract


class TestPlugin(PluginContract):
    plugin = plugin


class TestSkeletonName(LossContract):
    component = "loss:skeleton-name"
    keys = {"skeleton_name_gamma": 2.0}

    def arguments(self):
        return {"logprobs_N": torch.tensor([-0.1, -1.0, -7.0], dtype=torch.float64, requires_grad=True)}

    def reference(self, logprobs_N):
        return torch.stack([-((1 - torch.exp(p)) ** 2) * p for p in logprobs_N])


def test_without_gamma_it_is_cross_entropy():
    logprobs_N = torch.tensor([-0.5, -2.0])
    assert torch.equal(focal_loss(logprobs_N, gamma=0.0), -logprobs_N)
