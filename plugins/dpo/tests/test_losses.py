"""Every loss beside a plain one, written for one pair at a time from the paper with nothing but ``math``."""

import math

import pytest
import torch

from ft_plugin_dpo import losses
from ft_plugin_dpo.plugin import LOSSES, SMOOTHED
from ft_plugin_preference.losses import Pairs
from ft_plugin_preference.objective import bco_loss
from ftk_sdk.evidence import checked
from ftk_sdk.testing import make_run

from ...preference.tests.formulas import LEAVES, N, require_equal_sums

BETA, EPS, TAU = 0.3, 0.1, 0.05


def pairs(seed: int = 0, scale: float = 2.0) -> Pairs:
    """Random pairs in float64 whose first three fields want a gradient."""
    g = torch.Generator().manual_seed(seed)

    def draw() -> torch.Tensor:
        return -20 + scale * torch.randn(N, generator=g, dtype=torch.float64)

    lengths = [torch.randint(3, 30, (N,), generator=g) for _ in range(2)]
    refs = {"ref_chosen_B": draw(), "ref_rejected_B": draw()}
    leaves = {name: draw().requires_grad_() for name in LEAVES}
    return Pairs(**leaves, chosen_tokens_B=lengths[0], rejected_tokens_B=lengths[1], **refs)


def sig(x):
    return 1 / (1 + torch.exp(-x))


def log_sig(x):
    return torch.log(sig(x))


class One:
    """One pair: log ratios ``c`` and ``r``, their difference ``d``, lengths, and reference."""

    def __init__(self, p: Pairs, i: int) -> None:
        self.pc, self.pr, self.mean = p.chosen_B[i], p.rejected_B[i], p.chosen_mean_B[i]
        self.rc, self.rr = p.ref_chosen_B[i], p.ref_rejected_B[i]
        self.c, self.r = self.pc - self.rc, self.pr - self.rr
        self.d = self.c - self.r
        self.per_token = self.c / p.chosen_tokens_B[i] - self.r / p.rejected_tokens_B[i]


def exo(o: One):
    p, q = (sig(BETA * o.d), sig(-BETA * o.d)), (1 - EPS, EPS)
    return sum(a * (torch.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))


def lrml(o: One):
    x = BETA * o.d
    mix = sig(x / TAU)
    return (1 - mix) * -log_sig(x) + mix * torch.exp(-x)


PLAIN = {
    "sigmoid": (lambda o: -(1 - EPS) * log_sig(BETA * o.d) - EPS * log_sig(-BETA * o.d), {"eps": EPS}),
    "hinge": (lambda o: torch.clamp(1 - BETA * o.d, min=0), {}),
    "ipo": (lambda o: (o.per_token - 1 / (2 * BETA)) ** 2, {}),
    "exo_pair": (exo, {"eps": EPS}),
    "nca_pair": (
        lambda o: -(log_sig(BETA * o.c) + log_sig(-BETA * o.c) / 2 + log_sig(-BETA * o.r) / 2),
        {},
    ),
    "robust": (
        lambda o: ((1 - EPS) * -log_sig(BETA * o.d) - EPS * -log_sig(-BETA * o.d)) / (1 - 2 * EPS),
        {"eps": EPS},
    ),
    "bco_pair": (lambda o: -log_sig(BETA * o.c) - log_sig(-BETA * o.r), {}),
    "sppo_hard": (lambda o: (o.c - 1 / (2 * BETA)) ** 2 + (o.r + 1 / (2 * BETA)) ** 2, {}),
    "apo_zero": (lambda o: 1 - sig(BETA * o.c) + sig(BETA * o.r), {}),
    "apo_down": (lambda o: sig(BETA * o.c) + 1 - sig(BETA * o.d), {}),
    "discopop": (lrml, {"tau": TAU}),
    "sigmoid_norm": (lambda o: -log_sig(BETA * o.per_token), {}),
    "sft": (lambda o: -o.mean, {}),
}


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
        "apo_zero",
        "apo_down",
        "discopop",
        "sigmoid_norm",
        "sft",
    ],
    against="the paper's formula for one pair at a time in float64, value and gradient to 1e-9",
)
@pytest.mark.parametrize("name", PLAIN)
def test_a_loss_is_the_papers_formula_pair_by_pair(name):
    formula, arguments = PLAIN[name]
    made, plain = pairs(), pairs()
    if name != "sft":
        arguments = arguments | {"beta": BETA}
    made_B = getattr(losses, name)(made, **arguments)
    torch.testing.assert_close(made_B, torch.stack([formula(One(plain, i)) for i in range(N)]), rtol=0, atol=1e-9)
    require_equal_sums(made_B, made, sum(formula(One(plain, i)) for i in range(N)), plain)


def ranked(values: list[torch.Tensor]) -> list[torch.Tensor]:
    return sorted(values, key=lambda value: value.item())


@checked(
    stage="dpo",
    loss=["aot", "aot_unpaired"],
    against="quantiles compared one by one in float64, value and gradient to 1e-9",
)
@pytest.mark.parametrize("paired", [True, False])
def test_aot_compares_equal_ranks(paired):
    made, plain = pairs(), pairs()
    ones = [One(plain, i) for i in range(N)]
    if paired:
        above, below = ranked([o.pc - o.pr for o in ones]), ranked([o.rc - o.rr for o in ones])
    else:
        above, below = ranked([o.c for o in ones]), ranked([o.r for o in ones])
    gaps = [BETA * (a - b) for a, b in zip(above, below, strict=True)]
    wanted = sum(-(1 - EPS) * log_sig(gap) - EPS * log_sig(-gap) for gap in gaps)
    made_B = (losses.aot if paired else losses.aot_unpaired)(made, beta=BETA, eps=EPS)
    require_equal_sums(made_B, made, wanted, plain)


@checked(
    stage="dpo",
    loss=["kto_pair", "pref_bco_weight"],
    against="the formula with its batch means as constants, in float64, value and gradient to 1e-9",
)
@pytest.mark.parametrize("seed", range(4))
def test_losses_with_a_batch_mean_hold_it_constant(seed):
    made, plain = pairs(seed), pairs(seed)
    ones = [One(plain, i) for i in range(N)]
    mean_c, mean_r = (sum(getattr(o, name) for o in ones).item() / N for name in "cr")
    kto = sum((1 - sig(BETA * (o.c - max(mean_r, 0))) + 1 - sig(BETA * (max(mean_c, 0) - o.r))) / 2 for o in ones)
    require_equal_sums(losses.kto_pair(made, beta=BETA), made, kto, plain)

    made, plain = pairs(seed), pairs(seed)
    shift = BETA * (mean_c + mean_r) / 2
    ones = [One(plain, i) for i in range(N)]
    bco = sum(-log_sig(BETA * o.c - shift) - log_sig(-(BETA * o.r - shift)) for o in ones)
    require_equal_sums(bco_loss(made, beta=BETA), made, bco, plain)


def test_every_loss_is_tested():
    assert {*PLAIN, "aot", "aot_unpaired", "kto_pair"} == set(LOSSES)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "discopop"])
def test_a_loss_stays_finite_where_policy_and_reference_are_far_apart(name):
    arguments = {"sft": {}, "exo_pair": {"beta": 0.1, "eps": 1e-3}, "robust": {"beta": 0.1, "eps": 0.1}}
    for scale in (1e2, 1e4):
        far = pairs(scale=scale)
        loss = getattr(losses, name)(far, **arguments.get(name, {"beta": 0.1})).sum()
        loss.backward()
        assert loss.isfinite()
        assert all(getattr(far, leaf).grad is None or getattr(far, leaf).grad.isfinite().all() for leaf in LEAVES)


def part_of(p: Pairs, here: slice) -> Pairs:
    return Pairs(**{name: getattr(p, name)[here] for name in Pairs.__dataclass_fields__})


@pytest.mark.parametrize("name", LOSSES)
def test_exactly_the_losses_that_say_so_couple_pairs(name):
    run = make_run({"stage": "dpo", "pref_loss": name, "dpo_label_smoothing": EPS if name in SMOOTHED else 0})
    (offered,) = run.collect("ftk_preference_losses", run=run)
    loss = offered[name]
    whole = loss.function(pairs())
    parts = torch.cat([loss.function(part_of(pairs(), here)) for here in (slice(0, 2), slice(2, None))])
    assert torch.allclose(whole, parts, rtol=0, atol=1e-12) != loss.whole_batch
