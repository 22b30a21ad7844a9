import json
import math

import pytest
import torch
from safetensors.torch import load_file

from ft_plugin_bco import plugin
from ft_plugin_bco.loss import bco_loss, reward_shift
from ftk.contracts import Example
from ftk.execute import start
from ftk.problems import ConfigError
from ftk_sdk.contracts import PluginContract, StageContract
from ftk_sdk.evidence import checked
from ftk_sdk.testing import log_of, make_plan, make_run, short_training

ROWS = [
    {
        "instruction": f"say {'hello ' * (n % 3)}{n}",
        "output": f"the answer {'lazy ' * (n % 4)}{n}",
        "kto_tag": n % 3 > 0,
    }
    for n in range(12)
]


class TestPlugin(PluginContract):
    plugin = plugin


class TestStage(StageContract):
    component = "stage:bco"
    keys = {"template": "chatml", "pref_beta": 0.5}
    rows = ROWS
    example = Example(
        messages=[{"role": "user", "content": "hello"}, {"role": "assistant", "content": "lazy dog"}], desirable=False
    )
    loss_on = {"answer_labels": ["lazy dog<|im_end|>"]}


@checked(stage="bco", loss="bco", against="float64 reference of arXiv:2404.04656, value and gradient")
def test_the_loss_is_the_papers():
    rewards = torch.linspace(-3, 5, 9, dtype=torch.float64, requires_grad=True)
    good = torch.tensor([True, False, True] * 3)
    made = bco_loss(rewards, good, delta=torch.tensor(0.4, dtype=torch.float64))
    (grad,) = torch.autograd.grad(made.sum(), rewards)
    for loss, slope, r, d in zip(made.tolist(), grad.tolist(), rewards.tolist(), good.tolist(), strict=True):
        p = 1 / (1 + math.exp(-(r - 0.4)))
        assert loss == pytest.approx(-math.log(p if d else 1 - p), abs=1e-9)
        assert slope == pytest.approx(p - 1 if d else p, abs=1e-9)


@pytest.mark.parametrize(
    ("sums", "counts", "expected"),
    [([6.0, -2.0], [3, 1], 0.0), ([6.0, 0.0], [3, 0], 2.0), ([0.0, -2.0], [0, 4], -0.5), ([0.0, 0.0], [0, 0], 0.0)],
)
def test_the_shift_is_halfway_between_both_means(sums, counts, expected):
    assert reward_shift(torch.tensor(sums), torch.tensor(counts)).item() == expected


def logged(model_dir, folder, rows=ROWS, **keys):
    own = {"stage": "bco", "pref_beta": 0.5, "max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    own |= {"model_name_or_path": str(model_dir), "model_dtype": "float64"}
    start(make_run(short_training(folder, rows, **(own | keys))))
    return log_of(folder / "out")


def test_the_shift_is_that_of_the_rewards_of_all_steps_before(tiny_model_dir, tmp_path):
    log = logged(tiny_model_dir, tmp_path, disable_shuffling=True)
    good, bad = [], []
    for step, entry in enumerate(log):
        means = [sum(side) / len(side) for side in (good, bad) if side]
        assert entry["delta"] == pytest.approx(sum(means) / 2 if means else 0.0, abs=1e-9)
        tags = [ROWS[i % 12]["kto_tag"] for i in range(4 * step, 4 * step + 4)]
        good += [entry["rewards/chosen"]] * sum(tags)
        bad += [entry["rewards/rejected"]] * (4 - sum(tags))
    assert abs(log[-1]["delta"]) > 1e-3
    saved = load_file(tmp_path / "out" / "checkpoint-2" / "objective-0.safetensors")
    assert (saved["seen"] + saved["new"])[1].tolist() == [5, 3]


def test_answers_of_one_kind_train_with_a_warning(tiny_model_dir, tmp_path, caplog):
    log = logged(tiny_model_dir, tmp_path, [{**row, "kto_tag": False} for row in ROWS])
    assert all(math.isfinite(entry["loss"]) for entry in log)
    assert "all 12 answers are bad ones" in caplog.text


def test_evaluation_does_not_depend_on_its_batch_size(tiny_model_dir, tmp_path):
    results = []
    for size in (1, 5):
        folder = tmp_path / str(size)
        keys = {"per_device_eval_batch_size": size, "do_eval": True, "do_train": True, "pref_ftx": 0.2}
        logged(tiny_model_dir, folder, eval_dataset=str(folder / "rows.json"), **keys)
        results.append(json.loads((folder / "out" / "eval_results.json").read_text()))
    for name in ("loss", "sft_loss", "delta", "rewards/margins"):
        assert results[0][f"eval_{name}"] == pytest.approx(results[1][f"eval_{name}"], abs=1e-9), name


def test_a_reference_computed_before_gives_the_same_curve(tiny_model_dir, tmp_path):
    plain, before = (
        logged(tiny_model_dir, tmp_path / str(wanted), precompute_ref_log_probs=wanted) for wanted in (False, True)
    )
    for name in ("loss", "delta", "rewards/margins"):
        assert [e[name] for e in before] == pytest.approx([e[name] for e in plain], rel=0, abs=1e-9), name


def test_a_beta_that_is_not_positive_is_an_error():
    with pytest.raises(ConfigError, match=r"pref_beta=0.0 is not positive"):
        make_plan({"stage": "bco", "pref_beta": 0.0})
