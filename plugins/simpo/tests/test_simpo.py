import os

import pytest
import torch

from ft_plugin_simpo import plugin
from ft_plugin_simpo.simpo import simpo_loss
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
    component = "stage:simpo"
    keys = {"template": "chatml"}
    rows, example, loss_on = ROWS, EXAMPLE, LOSS_ON


BETA = 0.3


@checked(stage="simpo", loss="simpo", against="the paper's formula in float64, value and gradient to 1e-9")
def test_the_loss_is_the_papers_formula():
    def formula(chosen, rejected, mean, chosen_tokens, rejected_tokens):
        margin = BETA * (chosen / chosen_tokens) - BETA * (rejected / rejected_tokens) - 0.7
        return -torch.log(1 / (1 + torch.exp(-margin)))

    require_formula(lambda made: simpo_loss(made, beta=BETA, gamma=0.7), formula)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("models"))


@checked(stage="simpo", loss="simpo", against="TRL 1.16 CPOTrainer (simpo, cpo_alpha=0), 3 steps, losses to 1e-5")
def test_three_steps_have_the_losses_of_trl(folder, tmp_path):
    options = {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0, "simpo_gamma": 0.8}
    theirs, _ = of_trl(folder, CPOTrainer, CPOConfig, **options)
    keys = {"stage": "simpo", "pref_beta": 2.0, "simpo_gamma": 0.8}
    ours = [entry["loss"] for entry in of_ftk(folder, tmp_path, **keys)]
    assert ours == pytest.approx(theirs, abs=1e-5)


@checked(stage="simpo", loss="pref_ftx", against="TRL 1.16 CPOTrainer (CPO-SimPO), 3 steps, losses to 1e-5")
def test_with_a_supervised_part_it_is_cpo_simpo(folder, tmp_path):
    options = {"loss_type": "simpo", "cpo_alpha": 0.5, "beta": 2.0, "simpo_gamma": 0.8}
    theirs, _ = of_trl(folder, CPOTrainer, CPOConfig, **options)
    keys = {"stage": "simpo", "pref_beta": 2.0, "simpo_gamma": 0.8, "pref_ftx": 0.5}
    ours = [entry["loss"] for entry in of_ftk(folder, tmp_path, **keys)]
    assert ours == pytest.approx(theirs, abs=1e-5)
