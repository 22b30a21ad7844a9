"""The trainer against a plain PyTorch loop, in float64."""

import json

import pytest
import torch
from torch.nn import functional as F

from ft_plugin_trainer.encoding import NextTokenCollator
from ft_plugin_trainer.objective import NextToken
from ftk_sdk.evidence import checked
from ftk_sdk.tiny import tiny_llama

ROWS, GLOBAL_BATCH, STEPS, RATE = 40, 8, 12, 5e-3
"""Two and a half epochs: the last batch of an epoch is whole, the run stops within one."""


def plain_loop(model, rows, *, smoothing=0.0, steps=STEPS, seed=42):
    """One row at a time, full logits, no padding: nothing that the trainer does is in it."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    losses, epoch = [], 0
    while True:
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed + epoch)).tolist()
        for start in range(0, len(rows), GLOBAL_BATCH):
            batch = [rows[i] for i in order[start : start + GLOBAL_BATCH]]
            weights = [r.get("weights") or [1.0 * (y != -100) for y in r["labels"]] for r in batch]
            total = sum(sum(w[1:]) for w in weights)
            loss = torch.zeros((), dtype=torch.float64)
            for r, w in zip(batch, weights, strict=True):
                logits = model(input_ids=torch.tensor([r["input_ids"]])).logits[0, :-1]
                each = F.cross_entropy(
                    logits, torch.tensor(r["input_ids"][1:]), reduction="none", label_smoothing=smoothing
                )
                loss = loss + (each * torch.tensor(w[1:], dtype=torch.float64)).sum() / total
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            if len(losses) == steps:
                return losses
        epoch += 1


def assert_same_as_plain_loop(bench, rows, batch, accumulation, *, objective=None, smoothing=0.0, **keys):
    expected_model = tiny_llama(dtype=torch.float64)
    expected = plain_loop(expected_model, rows, smoothing=smoothing)
    trainer = bench.trainer(
        rows=rows,
        objective=objective,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        max_steps=STEPS,
        **keys,
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses == pytest.approx(expected, rel=0, abs=1e-9)
    for (name, ours), theirs in zip(trainer.model.named_parameters(), expected_model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")


@checked(
    stage="sft",
    loss="cross-entropy",
    against="a plain float64 loop, row by row: losses and weights of 12 steps to 1e-9",
)
@pytest.mark.parametrize("by_length", [False, True])
@pytest.mark.parametrize(("batch", "accumulation"), [(8, 1), (4, 2), (2, 4), (1, 8)])
def test_losses_and_final_weights_equal_a_plain_loop_whatever_the_split(bench, batch, accumulation, by_length):
    assert_same_as_plain_loop(bench, bench.rows(ROWS), batch, accumulation, sort_micro_batches=by_length)


@pytest.mark.parametrize("by_length", [False, True])
def test_the_last_batch_of_an_epoch_counts_its_own_targets(bench, by_length):
    assert_same_as_plain_loop(bench, bench.rows(ROWS + 5), 2, 4, sort_micro_batches=by_length)


def test_micro_batches_of_like_length_hold_less_padding(bench):
    padding = []

    class Watch(NextToken):
        def sums(self, model, batch):
            padding.append(int((batch["attention_mask"] == 0).sum()))
            return super().sums(model, batch)

    for by_length in (False, True):
        padding.append(0)
        bench.trainer(
            rows=bench.rows(ROWS),
            objective=Watch(),
            sort_micro_batches=by_length,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=4,
            num_train_epochs=1,
        ).train()
    as_drawn, by_length = sum(padding[1 : len(padding) // 2]), sum(padding[len(padding) // 2 :])
    assert by_length < as_drawn / 2


@checked(stage="sft", loss="weights of messages", against="a plain float64 loop, 12 steps to 1e-9")
def test_weights_of_tokens_multiply_their_losses_and_the_mean_is_over_weights(bench):
    rows = bench.rows(ROWS)
    for i, row in enumerate(rows):
        row["weights"] = [0.25 * (1 + i % 4) * (label != -100) for label in row["labels"]]
    assert_same_as_plain_loop(bench, rows, 4, 2)


@checked(stage="sft", loss="label smoothing", against="torch's cross_entropy in a plain float64 loop, 12 steps to 1e-9")
def test_label_smoothing_is_that_of_torch(bench):
    objective = NextToken(label_smoothing=0.1)
    assert_same_as_plain_loop(bench, bench.rows(ROWS), 4, 2, objective=objective, smoothing=0.1)


def test_checkpointing_of_activations_changes_nothing(bench):
    assert_same_as_plain_loop(bench, bench.rows(ROWS), 4, 2, activation_checkpointing=True)


def test_shuffling_can_be_turned_off(bench):
    rows = bench.rows(16)
    seen = []

    class Watch(NextToken):
        def sums(self, model, batch):
            seen.extend(batch["input_ids"][:, 0].tolist())
            return super().sums(model, batch)

    keys = {"disable_shuffling": True, "sort_micro_batches": False, "num_train_epochs": 1}
    bench.trainer(rows=rows, objective=Watch(), **keys).train()
    assert seen == [row["input_ids"][0] for row in rows]


@pytest.mark.parametrize("batch", [1, 3, 7, 64])
def test_the_evaluation_loss_is_the_mean_over_all_targets_whatever_the_batch_size(bench, batch):
    rows, model = bench.rows(17, seed=3), tiny_llama(dtype=torch.float64)
    total = n = hits = 0
    with torch.no_grad():
        for row in rows:
            logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1]
            labels = torch.tensor(row["labels"][1:])
            total += F.cross_entropy(logits, labels, reduction="sum").item()
            hits += (logits.argmax(-1) == labels).sum().item()
            n += (labels != -100).sum().item()
    metrics = bench.trainer(
        eval_rows=rows, objective=NextToken(accuracy=True), per_device_eval_batch_size=batch, model=model
    ).evaluate()
    assert metrics["eval_loss"] == pytest.approx(total / n, rel=0, abs=1e-9)
    assert metrics["eval_accuracy"] == hits / n
    assert json.loads((bench.folder / "out/eval_results.json").read_text()) == pytest.approx(metrics)


@pytest.mark.parametrize("size", [8, 3, 1])
def test_an_objective_may_cut_a_step_into_other_micro_batches(bench, size):
    steps = []

    class Recut(NextToken):
        def begin_step(self, model, batches):
            steps.append(self.step)
            rows = [
                {"input_ids": ids[mask == 1].tolist(), "labels": labels[mask == 1].tolist()}
                for batch in batches
                for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True)
            ]
            collate = NextTokenCollator(3)
            return [collate(rows[i : i + size]) for i in range(0, len(rows), size)]

    assert_same_as_plain_loop(bench, bench.rows(ROWS + 5), 4, 2, objective=Recut(), include_num_input_tokens_seen=True)
    assert steps == list(range(STEPS))


def test_an_evaluation_begins_each_of_its_batches(bench):
    class Halves(NextToken):
        def begin_step(self, model, batches):
            assert not model.training
            return [{k: v[half::2] for k, v in batch.items()} for batch in batches for half in (0, 1)]

    whole = bench.trainer(eval_rows=bench.rows(10)).evaluate()["eval_loss"]
    halves = bench.trainer(eval_rows=bench.rows(10), objective=Halves(), overwrite_output_dir=True).evaluate()
    assert halves["eval_loss"] == pytest.approx(whole, rel=0, abs=1e-9)
