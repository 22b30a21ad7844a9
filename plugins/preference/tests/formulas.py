"""Losses of pairs beside plain formulas, values and gradients in float64."""

from collections.abc import Callable

import torch

from ft_plugin_preference.losses import Pairs

N = 6
LEAVES = ("chosen_B", "rejected_B", "chosen_mean_B")


def pairs() -> Pairs:
    """Random pairs without a reference, in float64, whose log-probabilities want a gradient."""
    g = torch.Generator().manual_seed(0)
    lengths = [torch.randint(3, 30, (N,), generator=g) for _ in range(2)]
    means = [-0.05 - 2 * torch.rand(N, generator=g, dtype=torch.float64) for _ in range(3)]
    chosen_B, rejected_B = ((mean * n).requires_grad_() for mean, n in zip(means, lengths, strict=False))
    tokens = {"chosen_tokens_B": lengths[0], "rejected_tokens_B": lengths[1]}
    return Pairs(chosen_B=chosen_B, rejected_B=rejected_B, chosen_mean_B=means[2].requires_grad_(), **tokens)


def require_formula(loss: Callable[[Pairs], torch.Tensor], formula: Callable[..., torch.Tensor]) -> None:
    """The loss is the formula of ``(chosen, rejected, mean, chosen tokens, rejected tokens)`` of each pair."""
    made, plain = pairs(), pairs()
    made_B = loss(made)
    names = ("chosen_B", "rejected_B", "chosen_mean_B", "chosen_tokens_B", "rejected_tokens_B")
    wanted_B = torch.stack([formula(*(getattr(plain, name)[i] for name in names)) for i in range(N)])
    torch.testing.assert_close(made_B, wanted_B, rtol=0, atol=1e-9)
    require_equal_sums(made_B, made, wanted_B.sum(), plain)


def require_equal_sums(made_B: torch.Tensor, made: Pairs, wanted: torch.Tensor, plain: Pairs) -> None:
    """The losses of ``made`` have the sum that was found for ``plain``, and it has the same gradients."""
    torch.testing.assert_close(made_B.sum(), wanted, rtol=0, atol=1e-9)
    made_B.sum().backward()
    wanted.backward()
    for name in LEAVES:
        one, other = (getattr(p, name).grad for p in (made, plain))
        assert (one is None) == (other is None), f"only one side has a gradient of {name}"
        if one is not None:
            torch.testing.assert_close(one, other, rtol=0, atol=1e-9)
