"""Best fit against a plain reference, and how full bins get."""

import numpy as np
import pytest

from ft_plugin_packing.bins import best_fit


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


@pytest.mark.parametrize("seed", range(60))
def test_bins_are_those_of_plain_best_fit_and_hold_each_document_once(seed):
    rng = np.random.default_rng(seed)
    capacity = int(rng.integers(1, 60))
    lengths = rng.integers(1, capacity + 1, rng.integers(0, 80))
    bins = best_fit(lengths, capacity)
    held = [bins[i] for i in range(len(bins))]
    assert sorted(capacity - int(lengths[b].sum()) for b in held) == plain_best_fit(lengths.tolist(), capacity)
    assert sorted(bins.members.tolist()) == list(range(len(lengths)))
    assert all(b.tolist() == sorted(b.tolist()) for b in held)
    assert [int(b[0]) for b in held] == sorted(int(b[0]) for b in held)


def test_the_same_lengths_give_the_same_bins():
    lengths = np.random.default_rng(1).integers(1, 100, 1000)
    one, other = best_fit(lengths, 128), best_fit(lengths.copy(), 128)
    assert one.members.tolist() == other.members.tolist() and one.starts.tolist() == other.starts.tolist()


@pytest.mark.parametrize("capacity", [512, 1024, 2048])
def test_lengths_like_those_of_instructions_fill_bins_to_995_in_1000(capacity):
    lengths = np.clip(np.random.default_rng(0).lognormal(4.8, 0.8, 20_000).astype(int), 1, capacity)
    assert lengths.sum() / (len(best_fit(lengths, capacity)) * capacity) >= 0.995


@pytest.mark.parametrize("lengths", [[3, 9], [0, 3]])
def test_a_length_that_no_bin_can_hold_is_an_error(lengths):
    with pytest.raises(ValueError, match="do not fit into bins of 8"):
        best_fit(np.array(lengths), 8)
