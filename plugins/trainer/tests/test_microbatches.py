"""How a global batch is cut: at the least cost, within the memory that was asked for, without changing the result."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import MixtralConfig, MixtralForCausalLM

from ft_plugin_trainer.microbatches import OVERHEAD_ON_CPU, Rows, Several, by_cost, cheapest_cut, shared_out
from ft_plugin_trainer.objective import NextToken

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=9).map(lambda lengths: sorted(lengths, reverse=True))


def groups(lengths, sizes):
    ends = list(itertools.accumulate(sizes))
    return [lengths[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def every_cut(n):
    for bounds in itertools.product([False, True], repeat=n - 1):
        ends = [i + 1 for i, cut in enumerate(bounds) if cut] + [n]
        yield [stop - start for start, stop in itertools.pairwise([0, *ends])]


@given(LENGTHS, st.integers(0, 100), st.integers(1, 4))
def test_the_cut_costs_least_of_all_that_memory_allows(lengths, overhead, rows):
    most = rows * lengths[0]

    def cost(sizes):
        return sum(len(group) * group[0] + overhead for group in groups(lengths, sizes))

    allowed = (
        sizes
        for sizes in every_cut(len(lengths))
        if all(len(group) * group[0] <= most for group in groups(lengths, sizes))
    )
    found = cheapest_cut(lengths, overhead=overhead, most=most)
    assert sum(found) == len(lengths)
    assert all(len(group) * group[0] <= most for group in groups(lengths, found))
    assert cost(found) == min(map(cost, allowed))


def test_without_overhead_nothing_is_padded_and_with_much_of_it_memory_is_filled():
    lengths = [50, 40, 40, 13, 12, 2]
    assert cheapest_cut(lengths, overhead=0, most=100) == [1, 2, 1, 1, 1]
    assert cheapest_cut(lengths, overhead=10**6, most=100) == [1, 2, 3]


@given(st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=4), min_size=1, max_size=4), st.integers(0, 3))
def test_every_row_is_in_one_micro_batch_the_longest_first(drawn, repeated):
    batches = [Rows([{"length": n, "at": (i, j)} for j, n in enumerate(part)]) for i, part in enumerate(drawn)]
    for batch in batches[len(batches) - repeated :] if repeated else []:
        batch.repeated = True
    cut = by_cost(batches, lambda row: row["length"], device="cpu")
    counted = [batch for batch in batches if not batch.repeated]
    rows = [row for batch in cut for row in batch.rows]
    if not counted:
        assert cut == batches[:1]
        return
    assert sorted(row["at"] for row in rows) == sorted(row["at"] for batch in counted for row in batch.rows)
    assert [row["length"] for row in rows] == sorted((row["length"] for row in rows), reverse=True)
    assert not any(batch.repeated for batch in cut)


def test_rows_that_are_full_are_left_as_they_were_drawn():
    batches = [Rows([{"at": (i, j)} for j in range(size)]) for i, size in enumerate([3, 3, 3, 1])]
    assert by_cost(batches, lambda row: 512, device="cpu") == batches


def test_on_an_accelerator_lengths_count_as_they_are_padded_there():
    batches = [Rows([{"length": n}, {"length": 1}]) for n in (17, 1, 1, 1, 1)]
    cut = by_cost(batches, lambda row: row["length"], device="cuda")
    assert [len(batch.rows) for batch in cut] == [1, 6, 3]  # 6 rows of 8 positions are as much as 2 of 24


@pytest.mark.parametrize("places", [1, 2, 3, 7])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_batches_stand_in_order_in_any_number_of_places_and_the_last_is_not_empty(n, places):
    batches = [{"input_ids": torch.tensor([[i]])} for i in range(n)]
    shared = shared_out(batches, places)
    assert len(shared) == places
    found = [part for place in shared for part in (place.parts if isinstance(place, Several) else [place])]
    assert [int(part["input_ids"]) for part in found] == list(range(n))
    assert shared[-1]["input_ids"].numel()


class Watch(NextToken):
    """Notes the shapes of micro-batches, step by step."""

    def __init__(self):
        super().__init__()
        self.steps = []

    def begin_step(self, model, batches):
        self.steps.append([tuple(batch["input_ids"].shape) for batch in batches])
        return batches


def watched(bench, rows, **keys):
    objective = Watch()
    trainer = bench.trainer(rows=rows, objective=objective, overwrite_output_dir=True, **keys)
    trainer.train()
    return trainer, objective.steps


def rows_of(bench, n, longest):
    rows = bench.rows(n)
    g = torch.Generator().manual_seed(1)
    for row in rows:
        times = int(torch.randint(1, longest // 24, (), generator=g))
        row["input_ids"], row["labels"] = row["input_ids"] * times, row["labels"] * times
    return rows


@pytest.mark.parametrize(("batch", "accumulation"), [(8, 1), (2, 4), (1, 8)])
def test_losses_and_weights_are_those_of_the_drawn_cut_with_less_padding_and_no_more_memory(bench, batch, accumulation):
    rows = rows_of(bench, 40, 240)
    keys = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation}
    keys |= {"num_train_epochs": 1, "learning_rate": 5e-3, "include_num_input_tokens_seen": "non_padding"}
    drawn, before = watched(bench, rows, sort_micro_batches=False, **keys)
    cut, after = watched(bench, rows, **keys)
    losses = [[e["loss"] for e in trainer.state.log_history if "loss" in e] for trainer in (drawn, cut)]
    assert losses[1] == pytest.approx(losses[0], rel=0, abs=1e-12)
    for ours, theirs in zip(cut.model.parameters(), drawn.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    assert cut.state.num_input_tokens_seen == drawn.state.num_input_tokens_seen

    def cost(steps):
        return sum(n * length + OVERHEAD_ON_CPU for step in steps for n, length in step)

    assert cost(after) < cost(before)
    for step in after:
        assert max(n * length for n, length in step) <= batch * step[0][1]
    assert any(len(step) != accumulation for step in after)


def test_where_the_balance_of_experts_is_minimised_micro_batches_keep_their_sizes(bench):
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2, "router_aux_loss_coef": 0.3}
    keys = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "max_steps": 1}
    for balanced in (True, False):
        model = MixtralForCausalLM(
            MixtralConfig(vocab_size=512, num_key_value_heads=2, output_router_logits=balanced, **sizes, **experts)
        )
        _, (step,) = watched(bench, rows_of(bench, 8, 240), model=model, **keys)
        assert ([n for n, _ in step] == [4, 4]) is balanced


def test_an_objective_that_is_less_work_in_one_micro_batch_keeps_it(bench):
    keys = {"per_device_train_batch_size": 8, "max_steps": 1}
    for whole in (True, False):
        objective = Watch()
        objective.whole = whole
        bench.trainer(rows=rows_of(bench, 8, 240), objective=objective, overwrite_output_dir=True, **keys).train()
        assert (len(objective.steps[0]) == 1) is whole


def test_batches_that_one_process_hands_out_are_tensors(bench):
    _, (step,) = watched(bench, bench.rows(8), max_steps=1, accelerator_config={"dispatch_batches": True})
    assert [n for n, _ in step] == [8]
