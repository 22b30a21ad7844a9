import math

import pytest
import torch

from ft_plugin_eaft import plugin
from ftk.problems import ConfigError
from ftk_sdk.contracts import LossContract, PluginContract
from ftk_sdk.evidence import checked
from ftk_sdk.testing import make_plan


class TestPlugin(PluginContract):
    plugin = plugin


class TestLoss(LossContract):
    component = "loss:eaft"
    keys = {"use_eaft_loss": True, "eaft_alpha": 1.5}
    beside = ("stage:sft", "trainer:transformers")

    def arguments(self):
        g = torch.Generator().manual_seed(0)
        logits = torch.randn(13, 57, generator=g, dtype=torch.float64).mul(2).requires_grad_()
        return {"logits_NV": logits, "targets_N": torch.randint(57, (13,), generator=g)}

    def reference(self, logits_NV, targets_N):
        losses = []
        for logits_V, y in zip(logits_NV, targets_N, strict=True):
            top = sorted(logits_V.tolist(), reverse=True)[:20]
            total = sum(map(math.exp, top))
            entropy = -sum(math.exp(z) / total * math.log(math.exp(z) / total) for z in top)
            losses.append(-((entropy / 3) ** 1.5) * logits_V.softmax(-1)[y].log())
        return torch.stack(losses)

    @checked(stage="sft", loss="eaft", against="float64 reference of LLaMA-Factory's definition, value and gradient")
    def test_its_gradient_is_that_of_its_reference(self):
        super().test_its_gradient_is_that_of_its_reference()


def test_alpha_0_is_plain_cross_entropy():
    given = TestLoss().arguments()
    loss = TestLoss().run({"eaft_alpha": 0.0}).loss()
    plain = torch.nn.functional.cross_entropy(given["logits_NV"], given["targets_N"], reduction="none")
    torch.testing.assert_close(loss(**given), plain)


def test_a_small_vocabulary_has_fewer_than_20_tokens():
    logits_NV = torch.zeros(2, 8, dtype=torch.float64)
    loss = TestLoss().run({"eaft_alpha": 1.0}).loss()
    torch.testing.assert_close(loss(logits_NV, torch.tensor([0, 1])), torch.full((2,), math.log(8) ** 2 / 3).double())


def test_a_negative_power_is_an_error():
    with pytest.raises(ConfigError, match=r"eaft_alpha=-1.0 is negative"):
        make_plan({"use_eaft_loss": True, "eaft_alpha": -1.0})


def test_two_losses_at_once_are_an_error():
    with pytest.raises(ConfigError, match="loss"):
        make_plan({"use_eaft_loss": True, "use_dft_loss": True})
