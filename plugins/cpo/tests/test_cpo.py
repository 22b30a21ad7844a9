import os

import pytest
import torch

from ft_plugin_cpo import plugin
from ft_plugin_cpo.cpo import cpo_loss
from ftk_sdk.contracts import PluginContract, StageContract
from ftk_sdk.evidence import checked

from ...preference.tests.beside_trl import of_ftk, of_trl, prepared
from ...preference.tests.formulas import require_formula
from ...preference.tests.pair_stage import EXAMPLE, LOSS_ON, ROWS

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
from trl.experimental.cpo import CPOConfig, CPOTrainer


class TestPlugin(PluginContract):
    plugin = plugin


class TestStage(StageContract):
    component = "stage:cpo"
    keys = {"template": "chatml"}
    rows, example, loss_on = ROWS, EXAMPLE, LOSS_ON


BETA = 0.3


@checked(stage="cpo", loss="cpo", against="the paper's formula in float64, value and gradient to 1e-9")
@pytest.mark.parametrize("eps", [0.0, 0.2])
def test_the_loss_is_the_papers_formula(eps):
    def formula(chosen, rejected, mean, chosen_tokens, rejected_tokens):
        p = 1 / (1 + torch.exp(-BETA * (chosen - rejected)))
        return -(1 - eps) * torch.log(p) - eps * torch.log(1 - p) - 0.4 * mean

    require_formula(lambda made: cpo_loss(made, beta=BETA, alpha=0.4, eps=eps), formula)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("models"))


@checked(stage="cpo", loss="cpo", against="TRL 1.16 CPOTrainer in micro-batches of one pair, 3 steps, losses to 1e-5")
@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_three_steps_have_the_losses_of_trl(folder, tmp_path, eps):
    theirs, _ = of_trl(folder, CPOTrainer, CPOConfig, cpo_alpha=0.5, beta=0.2, label_smoothing=eps)
    keys = {"stage": "cpo", "cpo_alpha": 0.5, "pref_beta": 0.2, "dpo_label_smoothing": eps}
    ours = [entry["loss"] for entry in of_ftk(folder, tmp_path, **keys)]
    assert ours == pytest.approx(theirs, abs=1e-5)
