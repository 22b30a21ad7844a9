"""The mean over a global batch's pairs, coupled or not; references from a file; dropout; rules about keys."""

import json
import logging
from functools import partial

import pytest
import torch
from torch import nn

from ft_plugin_preference.losses import Pairs, PreferenceLoss
from ft_plugin_preference.objective import TANGENT, PairObjective
from ft_plugin_preference.pairs import PairCollator
from ft_plugin_preference.precomputed import FOLDER, weights_hash
from ft_plugin_preference.stage import switch_off_dropout
from ft_plugin_reference_model.reference import SeparateModel
from ftk.execute import start
from ftk.problems import ConfigError, RunError
from ftk_sdk.testing import make_plan, make_run
from ftk_sdk.tiny import tiny_llama, write_tiny_model

WORDS = ["zero", "one", "two and two", "three", "four", "five of them", "six", "seven"]


def rows(n: int, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    out = []
    for i in range(n):
        prompt, chosen, rejected = (
            torch.randint(3, 120, (size,), generator=g).tolist() for size in (3 + 2 * i, 2 + i % 3, 5 - i % 4)
        )
        answers = {"chosen_input_ids": chosen, "chosen_labels": chosen}
        answers |= {"rejected_input_ids": rejected, "rejected_labels": rejected}
        out.append({"prompt_input_ids": prompt, **answers})
    return out


def spread(pairs: Pairs) -> torch.Tensor:
    """A loss in which every pair matters to every other one, with gradient."""
    ratio_B = pairs.margin_B
    return (ratio_B[:, None] - ratio_B[None, :]).square().mean(1) + torch.exp(pairs.rejected_ratio_B.mean()) * ratio_B


def objective_of(*, loss=spread, whole_batch=True, **options) -> PairObjective:
    reference = SeparateModel(tiny_llama(vocab_size=128, dtype=torch.float64, seed=1))
    losses = {"loss": (0.7, PreferenceLoss(loss, whole_batch=whole_batch))}
    return PairObjective(losses, beta=0.1, reference=reference, ftx=0.2, bco=0.5, **options)


def step(objective: PairObjective, batches: list) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of an optimizer step, as the trainer makes them."""
    model = tiny_llama(vocab_size=128, dtype=torch.float64)
    batches = objective.begin_step(model, [PairCollator(0)(batch) for batch in batches])
    count = sum(objective.count(batch) for batch in batches)
    total = 0.0
    for batch in batches:
        loss = objective.sums(model, batch)["loss"][0] / count
        loss.backward()
        total += loss.item()
    return total, {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("sizes", [(3, 4), (1,) * 7, (5, 2)])
@pytest.mark.parametrize("ld_alpha", [None, 0.5])
def test_a_loss_that_couples_pairs_sees_the_whole_global_batch_however_it_is_cut(sizes, ld_alpha):
    data = rows(7)
    whole, expected = step(objective_of(ld_alpha=ld_alpha), [data])
    parts = [data[sum(sizes[:i]) : sum(sizes[: i + 1])] for i in range(len(sizes))]
    cut, made = step(objective_of(ld_alpha=ld_alpha), parts)
    assert cut == pytest.approx(whole, rel=0, abs=1e-7)  # norms of the tiny model compute in float32
    for name, grad in expected.items():
        torch.testing.assert_close(made[name], grad, rtol=0, atol=1e-6)


def test_only_coupled_losses_cost_another_forward_pass():
    batches = [PairCollator(0)(rows(2)), PairCollator(0)(rows(2, seed=1))]
    model = tiny_llama(vocab_size=128, dtype=torch.float64)
    plain = objective_of(loss=lambda pairs: -pairs.margin_B, whole_batch=False)
    plain.coupled = False
    assert plain.begin_step(model, batches) is batches
    coupled = objective_of()
    assert coupled.whole  # so that the trainer leaves a single micro-batch as it is
    assert coupled.begin_step(model, batches[:1]) == batches[:1]
    made = coupled.begin_step(model, batches)
    assert all(batch[TANGENT].shape == (2, 4) and "ref_chosen_logps" in batch for batch in made)


def test_rows_that_another_process_counts_do_not_matter_here():
    objective = objective_of()
    objective.counts = False
    model = tiny_llama(vocab_size=128, dtype=torch.float64)
    made = objective.begin_step(model, [PairCollator(0)(rows(2)), PairCollator(0)(rows(1))])
    assert not any(batch[TANGENT].any() for batch in made)
    assert objective.sums(model, made[0])["loss"][0].isfinite()


def test_the_result_is_the_weighted_sum_with_bco_and_the_supervised_loss():
    a, b = (partial(lambda pairs, x: pairs.margin_B * x, x=x) for x in (1.0, 3.0))
    weighted = {"a": (0.5, PreferenceLoss(a)), "b": (2.0, PreferenceLoss(b, reference=False))}
    g = torch.Generator().manual_seed(0)
    logps = [torch.randn(5, generator=g, dtype=torch.float64) for _ in range(5)]
    names = ("chosen_B", "rejected_B", "chosen_mean_B", "ref_chosen_B", "ref_rejected_B")
    ones = torch.ones(5, dtype=torch.long)
    pairs = Pairs(**dict(zip(names, logps, strict=True)), chosen_tokens_B=ones, rejected_tokens_B=ones)
    made = PairObjective(weighted, beta=0.1, ftx=0.3, bco=0.25).loss(pairs)
    chosen, rejected = 0.1 * pairs.chosen_ratio_B, 0.1 * pairs.rejected_ratio_B
    shift = (chosen + rejected).mean() / 2
    bco = -torch.log(torch.sigmoid(chosen - shift)) - torch.log(torch.sigmoid(shift - rejected))
    expected = (6.5 * pairs.margin_B + 0.25 * bco) / 1.25 - 0.3 * pairs.chosen_mean_B
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-12)


def test_without_a_reference_rewards_are_those_of_the_method():
    options = {"reference": False, "per_token": True}
    objective = PairObjective({"x": (1.0, PreferenceLoss(lambda p: p.chosen_B, **options))}, beta=2.0)
    tokens = {"chosen_tokens_B": torch.tensor([4]), "rejected_tokens_B": torch.tensor([2])}
    logps = {
        "chosen_B": torch.tensor([-8.0]),
        "rejected_B": torch.tensor([-6.0]),
        "chosen_mean_B": torch.tensor([-2.0]),
    }
    made = objective.metrics(Pairs(**logps, **tokens))
    shown = {name: value.item() for name, value in made.items()}
    assert shown == {
        "rewards/chosen": -4.0,
        "rewards/rejected": -6.0,
        "rewards/accuracies": 1.0,
        "rewards/margins": 2.0,
        "logps/chosen": -8.0,
        "logps/rejected": -6.0,
    }


# Runs.


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder / "model", dtype=torch.float64, seed=3)
    write_tiny_model(folder / "other", dtype=torch.float64, seed=4)
    data = [{"instruction": f"say {n}", "chosen": word, "rejected": "no" * n + "."} for n, word in enumerate(WORDS)]
    (folder / "rows.json").write_text(json.dumps(data))
    return folder


def trained(models, out, **keys) -> list[dict]:
    """The log of three steps."""
    settled = {
        "stage": "dpo",
        "finetuning_type": "full",
        "model_name_or_path": str(models / "model"),
        "model_dtype": "float64",
        "dataset": str(models / "rows.json"),
        "output_dir": str(out),
        "per_device_train_batch_size": 4,
        "max_steps": 3,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_strategy": "no",
    }
    start(make_run({**settled, **keys}))
    return [json.loads(line) for line in (out / "trainer_log.jsonl").read_text().splitlines()]


def losses_of(log: list[dict]) -> list[float]:
    return [entry["loss"] for entry in log if "loss" in entry]


@pytest.mark.parametrize("kind", ["full", "freeze", "lora"])
def test_a_reference_computed_before_gives_the_same_curve(models, tmp_path, kind):
    keys = {"finetuning_type": kind, "val_size": 2, "eval_strategy": "steps", "eval_steps": 1}
    plain = trained(models, tmp_path / "plain", **keys)
    before = trained(models, tmp_path / "before", precompute_ref_log_probs=True, **keys)
    assert losses_of(before) == pytest.approx(losses_of(plain), rel=0, abs=1e-7)
    shown = [entry for entry in plain if "eval_loss" in entry]
    assert [e["eval_loss"] for e in before if "eval_loss" in e] == pytest.approx(
        [e["eval_loss"] for e in shown], rel=0, abs=1e-7
    )
    assert {"eval_rewards/margins", "eval_rewards/accuracies", "eval_logps/chosen"} <= set(shown[0])
    assert sorted(p.name for p in (tmp_path / "before" / FOLDER).iterdir()) == ["eval.safetensors", "train.safetensors"]


def test_it_is_found_again_only_where_it_fits(models, tmp_path, caplog):
    caplog.set_level(logging.INFO, "ftk")
    keys = {"precompute_ref_log_probs": True, "ref_model": str(models / "other")}

    def computed(**more) -> bool:
        caplog.clear()
        trained(models, tmp_path / "out", **{**keys, "overwrite_output_dir": True, **more})
        return any("are computed" in record.message for record in caplog.records)

    assert computed()
    assert not computed(learning_rate=1e-2)
    assert computed(cutoff_len=25)
    assert computed(ref_model=str(models / "model"))
    assert computed(ref_model=str(models / "model"), ld_alpha=0.5)
    (tmp_path / "out" / FOLDER / "train.safetensors").write_bytes(b"broken")
    assert computed(ref_model=str(models / "model"), ld_alpha=0.5)


def test_any_change_of_a_weight_changes_the_hash():
    model = tiny_llama()
    before = weights_hash(model)
    assert before == weights_hash(tiny_llama())
    model.lm_head.weight.data[3, 5] += 1e-3
    assert weights_hash(model) != before


def test_a_stream_has_no_reference_computed_before(models, tmp_path):
    with pytest.raises(RunError, match="precompute_ref_log_probs needs rows that are all there"):
        trained(models, tmp_path / "out", precompute_ref_log_probs=True, streaming=True)


def test_dropout_is_off_and_said_to_be_unless_asked_for(models, tmp_path, caplog):
    caplog.set_level(logging.INFO, "ftk")
    keys = {"finetuning_type": "lora", "learning_rate": 1e-2}
    without = losses_of(trained(models, tmp_path / "without", **keys))
    assert not any("dropout" in record.message for record in caplog.records)
    assert losses_of(trained(models, tmp_path / "off", lora_dropout=0.5, **keys)) == without
    assert any("pref_dropout: true keeps it" in record.message for record in caplog.records)
    assert losses_of(trained(models, tmp_path / "on", lora_dropout=0.5, pref_dropout=True, **keys)) != without


def test_dropout_of_layers_and_of_attention_is_found():
    model = tiny_llama()
    model.model.layers[0].self_attn.attention_dropout = 0.1
    model.extra = nn.Dropout(0.3)
    assert switch_off_dropout(model) == 2
    assert switch_off_dropout(model) == 0


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"pref_beta": 0}, "pref_beta=0.0 must be above 0"),
        ({"dpo_label_smoothing": 0.5}, "dpo_label_smoothing=0.5 must be at least 0 and below 0.5"),
        ({"ld_alpha": 1.5}, "ld_alpha=1.5 must be from 0 to 1"),
        ({"pref_ftx": -1}, "pref_ftx=-1.0 is negative"),
    ],
)
def test_values_out_of_range_are_refused(keys, message):
    with pytest.raises(ConfigError, match=message):
        make_plan({"stage": "dpo", **keys})


def test_old_names_of_keys_are_understood():
    plan = make_plan({"stage": "dpo", "dpo_beta": 0.3, "dpo_ftx": 0.1, "dpo_loss": "hinge"})
    assert "preference-loss:hinge" in plan
    assert plan.config.value("pref_beta") == 0.3 and plan.config.value("pref_ftx") == 0.1
