import math
import os

import pytest
import torch

from ft_plugin_orpo import plugin
from ft_plugin_orpo.orpo import log_odds, orpo_loss
from ftk.problems import ConfigError
from ftk_sdk.contracts import PluginContract, StageContract
from ftk_sdk.evidence import checked
from ftk_sdk.testing import make_plan

from ...preference.tests.beside_trl import of_ftk, of_trl, prepared
from ...preference.tests.formulas import require_formula
from ...preference.tests.pair_stage import EXAMPLE, LOSS_ON, ROWS

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
from trl.experimental.orpo import ORPOConfig, ORPOTrainer


class TestPlugin(PluginContract):
    plugin = plugin


class TestStage(StageContract):
    component = "stage:orpo"
    keys = {"template": "chatml"}
    rows, example, loss_on = ROWS, EXAMPLE, LOSS_ON


BETA = 0.3


@checked(
    stage="orpo", loss="orpo", against="the paper's formula with plain odds in float64, value and gradient to 1e-9"
)
def test_the_loss_is_the_papers_formula():
    def formula(chosen, rejected, mean, chosen_tokens, rejected_tokens):
        p, q = torch.exp(chosen / chosen_tokens), torch.exp(rejected / rejected_tokens)
        return -mean - BETA * torch.log(torch.sigmoid(torch.log((p / (1 - p)) / (q / (1 - q)))))

    require_formula(lambda made: orpo_loss(made, beta=BETA), formula)


@pytest.mark.parametrize("logp", [-1e-12, -1e-5, -0.4999, -0.5001, -30.0, -800.0])
def test_odds_are_exact_near_0_and_1(logp):
    x = torch.tensor([logp], dtype=torch.float64, requires_grad=True)
    made = log_odds(x)
    made.backward()
    wanted = logp - math.log(-math.expm1(logp))
    assert made.item() == pytest.approx(wanted, rel=1e-12)
    assert x.grad.item() == pytest.approx(-1 / math.expm1(logp), rel=1e-9)


def test_a_certain_answer_has_finite_odds():
    x = torch.zeros(1, requires_grad=True)
    log_odds(x).backward()
    assert log_odds(x).isfinite() and x.grad.isfinite()


@pytest.mark.parametrize(
    ("key", "value"),
    [("pref_bco_weight", 0.5), ("ld_alpha", 0.5), ("ref_model", "x"), ("precompute_ref_log_probs", True)],
)
def test_keys_without_a_meaning_are_refused(key, value):
    with pytest.raises(ConfigError, match=f"{key} has no meaning for stage: orpo"):
        make_plan({"stage": "orpo", key: value})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("models"))


@checked(
    stage="orpo", loss="odds ratio", against="TRL 1.16 ORPOTrainer, all but its supervised part, first step to 1e-5"
)
def test_the_part_of_the_odds_is_that_of_trl(folder, tmp_path):
    # TRL's supervised part covers the prompt too, so that from the second step on both go other ways.
    _, (theirs, *_) = of_trl(folder, ORPOTrainer, ORPOConfig, beta=0.5)
    ours, *_ = of_ftk(folder, tmp_path, stage="orpo", pref_beta=0.5)
    assert ours["rewards/chosen"] == pytest.approx(theirs["rewards/chosen"], abs=1e-5)
    assert ours["rewards/margins"] == pytest.approx(theirs["rewards/margins"], abs=1e-5)
    supervised = -ours["rewards/chosen"] / 0.5
    assert ours["loss"] - supervised == pytest.approx(-0.5 * theirs["log_odds_ratio"], abs=1e-5)
