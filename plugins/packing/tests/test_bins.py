"""Best fit against a plain reference, and how full bins get."""

import numpy as np
import pytest

from ft_plugin_packing.bins import best_fit_decreasing, fill, fullest_first


def plain_best_fit(lengths, capacity):
    """Spaces left in the bins, each document looking at each bin."""
    spaces = []
    for length in sorted(lengths, reverse=True):
        fitting = [i for i, space in enumerate(spaces) if space >= length]
        if fitting:
            spaces[min(fitting, key=lambda i: spaces[i])] -= length
        else:
            spaces.append(capacity - length)
    return sorted(spaces)


def some_lengths(seed):
    rng = np.random.default_rng(seed)
    capacity = int(rng.integers(1, 60))
    return rng.integers(1, capacity + 1, rng.integers(1, 80)), capacity


@pytest.mark.parametrize("seed", range(60))
def test_best_fit_leaves_the_spaces_that_plain_best_fit_leaves(seed):
    lengths, capacity = some_lengths(seed)
    used = np.bincount(best_fit_decreasing(lengths, capacity), weights=lengths)
    assert sorted(capacity - used) == plain_best_fit(lengths.tolist(), capacity)


@pytest.mark.parametrize("seed", range(60))
def test_the_fullest_combinations_overfill_no_bin_and_leave_none_empty(seed):
    lengths, capacity = some_lengths(seed)
    used = np.bincount(fullest_first(lengths, capacity), weights=lengths)
    assert used.min() > 0 and used.max() <= capacity


@pytest.mark.parametrize("seed", range(60))
def test_bins_hold_each_document_once_in_the_order_of_their_first(seed):
    lengths, capacity = some_lengths(seed)
    bins = fill(lengths, capacity)
    held = [bins[i].tolist() for i in range(len(bins))]
    assert sorted(n for b in held for n in b) == list(range(len(lengths)))
    assert all(b == sorted(b) and lengths[b].sum() <= capacity for b in held)
    assert [b[0] for b in held] == sorted(b[0] for b in held)
    assert len(bins) <= best_fit_decreasing(lengths, capacity).max() + 1


def test_nothing_is_packed_into_no_bins():
    assert len(fill(np.empty(0, np.int64), 8)) == 0


def test_the_same_lengths_give_the_same_bins():
    lengths = np.random.default_rng(1).integers(1, 400, 1000)
    one, other = fill(lengths, 512), fill(lengths.copy(), 512)
    assert one.members.tolist() == other.members.tolist() and one.starts.tolist() == other.starts.tolist()


@pytest.mark.parametrize("capacity", [512, 1024, 2048])
@pytest.mark.parametrize("middle", [80, 200])
def test_lengths_like_those_of_real_data_fill_bins_to_995_in_1000(capacity, middle):
    lengths = np.clip(np.random.default_rng(0).lognormal(np.log(middle), 0.7, 20_000).astype(int), 1, capacity)
    assert lengths.sum() / (len(fill(lengths, capacity)) * capacity) >= 0.995


def test_documents_that_fit_in_no_other_way_fill_their_bins():
    lengths = np.repeat([5, 4, 3], [40, 40, 40])
    assert len(fill(lengths, 12)) == 40, "best fit alone puts two of 5 together, and needs more"


@pytest.mark.parametrize("lengths", [[3, 9], [0, 3]])
def test_a_length_that_no_bin_can_hold_is_an_error(lengths):
    with pytest.raises(ValueError, match="do not fit into bins of 8"):
        fill(np.array(lengths), 8)
