"""What a run does beside its steps: log, plot, stop early, refuse broken losses, ask components."""

import json
import logging
import math

import pytest
import torch
from peft import LoraConfig, get_peft_model
from PIL import Image

from ft_plugin_trainer.early_stopping import evaluations_since_best
from ft_plugin_trainer.log import cut
from ft_plugin_trainer.objective import NextToken
from ft_plugin_trainer.plot import draw, smoothed
from ft_plugin_trainer.precision import train_in_float32
from ftk.problems import RunError
from ftk_sdk.tiny import tiny_llama

SHORT = {"max_steps": 4, "per_device_train_batch_size": 4}


def entries(bench):
    return [json.loads(line) for line in (bench.folder / "out" / "trainer_log.jsonl").read_text().splitlines()]


def test_every_log_entry_is_a_line_with_the_progress(bench):
    trainer = bench.trainer(
        **SHORT,
        logging_steps=2,
        include_num_input_tokens_seen=True,
        eval_strategy="steps",
        eval_steps=4,
        eval_rows=bench.rows(3),
    )
    trainer.train()
    first, second, evaluation = entries(bench)
    assert {"current_steps": 2, "total_steps": 4, "percentage": 50.0}.items() <= first.items()
    assert {"loss", "grad_norm", "lr", "epoch", "elapsed_time", "remaining_time", "total_tokens"} <= first.keys()
    assert second["remaining_time"] == "0:00:00"
    assert evaluation["eval_loss"] == trainer.state.log_history[-2]["eval_loss"]


def test_entries_of_later_steps_and_broken_ones_are_cut(tmp_path):
    path = tmp_path / "log"
    lines = [json.dumps({"current_steps": n}) + "\n" for n in (1, 2, 3)]
    path.write_text("".join(lines) + '{"current_steps": 1, "lo')
    cut(path, 2)
    assert path.read_text() == "".join(lines[:2])


def test_the_results_are_json_files_and_add_up(bench):
    trainer = bench.trainer(**SHORT, eval_rows=bench.rows(3), include_effective_tokens_per_second=True)
    metrics = dict(trainer.train().metrics)
    metrics |= trainer.evaluate()
    everything = json.loads((bench.folder / "out" / "all_results.json").read_text())
    assert everything == pytest.approx(metrics)
    assert everything["train_loss"] == pytest.approx(sum(e["loss"] for e in entries(bench)[:4]) / 4)
    assert everything["effective_tokens_per_sec"] > 0


def test_the_loss_curve_is_a_picture(tmp_path):
    history = [{"step": n, "loss": 2 + math.sin(n)} for n in range(1, 50)] + [{"step": 20, "eval_loss": 2.0}]
    draw(history, tmp_path / "training_loss.png")
    assert Image.open(tmp_path / "training_loss.png").format == "PNG"
    draw([{"step": 1, "lr": 1.0}], tmp_path / "nothing.png")
    assert not (tmp_path / "nothing.png").exists()


@pytest.mark.parametrize("name", ["reward", "rewards/margins"])
def test_a_reward_is_drawn_below_the_loss(tmp_path, name):
    losses = [{"step": n, "loss": 0.0} for n in range(1, 9)]
    rewards = [entry | {name: entry["step"] / 8} for entry in losses] + [{"step": 8, f"eval_{name}": 1.0}]
    sizes = []
    for history in (losses, rewards):
        draw(history, tmp_path / "training_loss.png")
        sizes.append(Image.open(tmp_path / "training_loss.png").height)
    assert sizes[1] > 1.4 * sizes[0]


def test_the_smoothed_curve_is_a_mean_from_its_first_value_on():
    assert smoothed([3.0] * 40) == pytest.approx([3.0] * 40)
    assert smoothed([5.0, 1.0]) == [5.0, 1.0]


def test_early_stopping_counts_evaluations_without_a_new_best():
    history = [{"eval_loss": x} for x in (3.0, 2.0, 2.5, 2.0, 2.1)]
    assert evaluations_since_best(history, "eval_loss", greater_is_better=False) == 3
    assert evaluations_since_best(history, "eval_loss", greater_is_better=True) == 4
    assert evaluations_since_best([], "eval_loss", greater_is_better=True) == 0


def test_training_stops_when_evaluations_no_longer_improve_and_stays_stopped(bench):
    keys = {
        "components": ["addon:early-stopping"],
        "early_stopping_steps": 2,
        "eval_strategy": "steps",
        "eval_steps": 1,
        "max_steps": 50,
        "learning_rate": 0.5,
        "eval_rows": bench.rows(4),
        "save_strategy": "steps",
        "save_steps": 1,
        "save_total_limit": 1,
    }
    trainer = bench.trainer(**keys)
    trainer.train()
    stopped = trainer.state.global_step
    assert 2 < stopped < 50
    again = bench.trainer(**keys)
    again.train()
    assert again.state.global_step == stopped


class Broken(NextToken):
    """Gives a NaN loss from the third batch on."""

    seen = 0

    def sums(self, model, batch):
        sums = super().sums(model, batch)
        self.seen += 1
        if self.seen >= 3:
            sums["loss"] = (sums["loss"][0] * math.nan, sums["loss"][1])
        return sums


def test_a_loss_that_is_not_a_number_stops_the_run_before_the_weights_change(bench):
    trainer = bench.trainer(**SHORT, objective=Broken())
    with pytest.raises(RunError, match="the loss of step 3 is nan"):
        trainer.train()
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())


def test_such_a_loss_can_be_let_through(bench):
    bench.trainer(**SHORT, objective=Broken(), logging_nan_inf_filter=True).train()


def test_a_gradient_that_is_not_finite_stops_the_run(bench):
    trainer = bench.trainer(**SHORT)
    next(trainer.model.parameters()).register_hook(lambda grad: grad * math.inf)
    with pytest.raises(RunError, match="the gradient of step 1 is"):
        trainer.train()


def test_what_transformers_refuses_is_one_sentence(bench):
    with pytest.raises(RunError, match="eval_dataset"):
        bench.trainer(**SHORT, eval_strategy="steps")
    with pytest.raises(RunError, match="training arguments are refused: no_such_optimizer"):
        bench.run(optim="no_such_optimizer").training_args()


class Extra(NextToken):
    def sums(self, model, batch):
        ids = batch["input_ids"]
        return super().sums(model, batch) | {"largest": (ids.max().float(), torch.tensor(1.0))}


def test_further_sums_of_an_objective_are_logged_as_means_over_all_batches_since_the_last_entry(bench):
    rows = [{"input_ids": [5, n], "labels": [-100, n]} for n in range(10, 26)]
    bench.trainer(
        rows=rows,
        objective=Extra(),
        disable_shuffling=True,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        max_steps=4,
        logging_steps=2,
    ).train()
    assert [e["largest"] for e in entries(bench)] == [(11 + 13 + 15 + 17) / 4, (19 + 21 + 23 + 25) / 4]


def test_an_optimizer_of_a_component_is_used_instead_of_the_named_one(bench):
    pytest.importorskip("ft_plugin_torch_optim")
    trainer = bench.trainer(**SHORT, components=["optimizer:sgd"], optim="sgd", learning_rate=0.1)
    trainer.train()
    assert type(trainer.optimizer.optimizer) is torch.optim.SGD


def lora_of(model, **options):
    return get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], **options))


def test_trained_weights_are_raised_to_float32_and_mixed_precision_follows_where_it_must(bench, caplog):
    caplog.set_level(logging.INFO, "ftk")
    model = tiny_llama(dtype=torch.bfloat16)
    for p in model.model.layers[0].parameters():
        p.requires_grad_(False)
    trainer = bench.trainer(**SHORT, model=model)
    assert trainer.args.bf16
    assert "computing as with bf16: true" in caplog.text
    trainer.train()
    assert {p.dtype for p in trainer.model.parameters() if p.requires_grad} == {torch.float32}


def test_adapters_that_keep_their_own_float32_weights_are_left_alone():
    assert train_in_float32(lora_of(tiny_llama(dtype=torch.bfloat16)), {}) is None


def test_pure_bfloat16_keeps_everything_in_bfloat16(bench):
    trainer = bench.trainer(**SHORT, model=tiny_llama(dtype=torch.bfloat16), pure_bf16=True)
    trainer.train()
    assert {p.dtype for p in trainer.model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("adapted", [False, True])
def test_bfloat16_mixed_precision_is_close_to_float32(bench, adapted):
    def train(**keys):
        torch.manual_seed(0)
        model = tiny_llama()
        trainer = bench.trainer(**SHORT, model=lora_of(model) if adapted else model, overwrite_output_dir=True, **keys)
        return trainer.train().metrics["train_loss"]

    assert train(bf16=True) == pytest.approx(train(), rel=1e-2)
