"""The losses of three steps beside those of TRL's trainer."""

import pytest
import torch
import trl

from ftk_sdk.evidence import checked
from ftk_sdk.tiny import tiny_llama, tiny_tokenizer, write_tiny_model

from ...preference.tests.beside_trl import of_ftk, of_trl, prepared


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """What both sides start from, and another model for a reference."""
    folder = prepared(tmp_path_factory.mktemp("models"))
    write_tiny_model(folder / "other", dtype=torch.float64, seed=4)
    return folder


def require_same(models, out, options, keys, *, row_by_row: bool = False) -> None:
    more = {"ref_model": tiny_llama(dtype=torch.float64, seed=4), "processing_class": tiny_tokenizer()}
    theirs, _ = of_trl(models, trl.DPOTrainer, trl.DPOConfig, more=more, row_by_row=row_by_row, **options)
    cut = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    log = of_ftk(models, out, stage="dpo", ref_model=str(models / "other"), **cut, **keys)
    # TRL makes log-probabilities in float32.
    assert [entry["loss"] for entry in log] == pytest.approx(theirs, rel=1e-6, abs=1e-5)


SMOOTHED = ("robust", "exo_pair", "aot", "aot_unpaired")


@checked(
    stage="dpo",
    loss=[
        "sigmoid",
        "hinge",
        "ipo",
        "exo_pair",
        "nca_pair",
        "robust",
        "bco_pair",
        "sppo_hard",
        "aot",
        "aot_unpaired",
        "apo_zero",
        "apo_down",
        "discopop",
        "sigmoid_norm",
    ],
    against="TRL 1.16 DPOTrainer with another model as reference, 3 steps, losses to 1e-5",
)
@pytest.mark.parametrize(
    "loss",
    [
        "sigmoid",
        "hinge",
        "ipo",
        "exo_pair",
        "nca_pair",
        "robust",
        "bco_pair",
        "sppo_hard",
        "aot",
        "aot_unpaired",
        "apo_zero",
        "apo_down",
        "discopop",
        "sigmoid_norm",
    ],
)
def test_three_steps_have_the_losses_of_trl(models, tmp_path, loss):
    eps = 0.1 if loss in SMOOTHED else 0.0
    options = {"loss_type": [loss], "label_smoothing": eps}
    require_same(models, tmp_path, options, {"pref_loss": loss, "dpo_label_smoothing": eps})


@checked(
    stage="dpo",
    loss=["sft", "weighted sum"],
    against="TRL 1.16 DPOTrainer in micro-batches of one pair, 3 steps, losses to 1e-5",
)
def test_so_has_a_weighted_sum_where_trls_token_means_are_those_of_one_pair(models, tmp_path):
    # TRL's 'sft' is a mean over all tokens of a micro-batch, so that it depends on how a batch is cut.
    weights = [0.7, 0.2, 1.5]
    options = {"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": weights}
    keys = {"pref_loss": "sigmoid,bco_pair,sft", "pref_loss_weights": weights}
    require_same(models, tmp_path, options, keys, row_by_row=True)


@checked(
    stage="dpo",
    loss="ld_alpha",
    against="TRL 1.16 DPOTrainer, 3 steps, losses to 1e-5",
)
def test_tokens_beyond_the_shorter_answer_count_as_in_trl(models, tmp_path):
    require_same(models, tmp_path, {"ld_alpha": 0.4}, {"ld_alpha": 0.4})
