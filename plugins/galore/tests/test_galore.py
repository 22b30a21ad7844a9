import pytest
import torch
from torch import nn

from ft_plugin_galore import plugin
from ftk.problems import ConfigError, RunError
from ftk_sdk.contracts import OptimizerContract, PluginContract
from ftk_sdk.testing import make_plan, make_run
from ftk_sdk.tiny import tiny_llama

LR, DECAY, RANK, INTERVAL, SCALE = 0.02, 0.1, 2, 2, 0.25
KEYS = {
    "learning_rate": LR,
    "weight_decay": DECAY,
    "adam_epsilon": 1e-16,  # galore_torch adds it before the bias correction of the second moment
    "use_galore": True,
    "galore_rank": RANK,
    "galore_update_interval": INTERVAL,
    "galore_scale": SCALE,
}
SIDES = {"std": "smaller", "reverse_std": "larger", "right": "right", "left": "left", "full": "both"}


class TestPlugin(PluginContract):
    plugin = plugin


class TestGalore(OptimizerContract):
    component = "optimizer:galore"
    keys = {"use_galore": True, "galore_rank": 4, "galore_update_interval": 2, "learning_rate": 1e-2}


class TestBothSides(TestGalore):
    keys = TestGalore.keys | {"galore_proj_type": "full"}


class TestAdafactor(TestGalore):
    keys = TestGalore.keys | {"optim": "adafactor"}


class TestLayerwise(TestGalore):
    keys = TestGalore.keys | {"galore_layerwise": True, "max_grad_norm": 0}


def build(model: nn.Module, **keys) -> torch.optim.Optimizer:
    return make_run({**KEYS, **keys}, components=["optimizer:galore"]).build_optimizer(model)


def random_gradients(shape: tuple[int, ...], steps: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(steps)]


def bases(gradient: torch.Tensor, side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """P and Q of equation 7 of arXiv:2403.03507: the projection is P^T G Q. One of them may be the identity."""
    rows, columns = gradient.shape
    side = {"smaller": "left" if rows < columns else "right", "larger": "right" if rows < columns else "left"}.get(
        side, side
    )
    # In float32 like galore_torch: moments outlive a change of basis, and the signs of singular vectors are arbitrary.
    u, _, vh = (part.double() for part in torch.linalg.svd(gradient.float(), full_matrices=False))
    left = u[:, :RANK] if side in ("left", "both") else torch.eye(rows, dtype=torch.float64)
    right = vh[:RANK].T if side in ("right", "both") else torch.eye(columns, dtype=torch.float64)
    return left, right


def galore_adam(w, gradients, side):
    """Algorithm 2 of arXiv:2403.03507, then decoupled weight decay."""
    m = v = 0.0
    for t, g in enumerate(gradients):
        if t % INTERVAL == 0:
            p, q = bases(g, side)
        r = p.T @ g @ q
        m, v = 0.9 * m + 0.1 * r, 0.999 * v + 0.001 * r * r
        n = m / (1 - 0.9 ** (t + 1)) / (v / (1 - 0.999 ** (t + 1))).sqrt()
        w = (w - LR * SCALE * p @ n @ q.T) * (1 - LR * DECAY)
    return w


def galore_adafactor(w, gradients, side):
    """Algorithm 4 of arXiv:1804.04235 with a given learning rate, in the projected space."""
    rows = columns = 0.0
    for t, g in enumerate(gradients):
        if t % INTERVAL == 0:
            p, q = bases(g, side)
        r = p.T @ g @ q
        beta = 1 - (t + 1) ** -0.8
        rows = beta * rows + (1 - beta) * r.pow(2).mean(1, keepdim=True)
        columns = beta * columns + (1 - beta) * r.pow(2).mean(0, keepdim=True)
        n = r / (rows @ columns / rows.mean()).sqrt()
        n = n / max(1.0, n.pow(2).mean().sqrt().item())
        w = w * (1 - LR * DECAY) - LR * SCALE * p @ n @ q.T
    return w


@pytest.mark.parametrize("shape", [(4, 7), (7, 4)])
@pytest.mark.parametrize("proj_type", SIDES)
@pytest.mark.parametrize(("optim", "reference"), [("adamw_torch", galore_adam), ("adafactor", galore_adafactor)])
def test_steps_equal_the_paper_in_float64(optim, reference, proj_type, shape):
    torch.manual_seed(0)
    model = nn.Linear(*reversed(shape), bias=False, dtype=torch.float64)
    start = model.weight.detach().clone()
    optimizer = build(nn.Sequential(model), optim=optim, galore_proj_type=proj_type)
    gradients = random_gradients(shape, 3)
    for gradient in gradients:
        model.weight.grad = gradient.clone()
        optimizer.step()
    expected = reference(start, gradients, SIDES[proj_type])
    torch.testing.assert_close(model.weight.detach(), expected, rtol=0, atol=1e-8)


def tokens() -> torch.Tensor:
    return torch.arange(40).view(2, 20)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    losses = []
    for _ in range(steps):
        loss = model(tokens(), labels=tokens()).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_linear_layers_are_projected_and_nothing_else():
    model = tiny_llama()
    projected = [p for group in build(model).param_groups if "rank" in group for p in group["params"]]
    assert {id(p) for p in projected} == {id(p) for name, p in model.named_parameters() if "_proj." in name}


@pytest.mark.parametrize(("target", "count"), [("q_proj", 2), ("self_attn, down_proj", 10), ("layers.1.mlp", 3)])
def test_a_target_is_a_part_of_a_name(target, count):
    projected = [g for g in build(tiny_llama(), galore_target=target).param_groups if "rank" in g]
    assert [len(g["params"]) for g in projected] == [count]


def test_biases_and_norms_are_not_decayed():
    model = tiny_llama()
    kept = {id(p) for g in build(model).param_groups if not g["weight_decay"] for p in g["params"]}
    assert kept == {id(p) for name, p in model.named_parameters() if "norm" in name}


def test_a_target_that_matches_nothing_is_an_error():
    with pytest.raises(RunError, match=r"galore_target: 'c_attn' matches no trainable linear layer(.|\n)*q_proj"):
        build(tiny_llama(), galore_target="q_proj,c_attn")


def test_a_model_without_linear_layers_is_an_error():
    with pytest.raises(RunError, match="galore_target: 'all' matches no trainable linear layer"):
        build(nn.Embedding(4, 4))


def test_a_rank_that_reverse_std_cannot_take_is_an_error():
    with pytest.raises(RunError, match="set galore_rank to at most 15"):
        build(tiny_llama(), galore_proj_type="reverse_std", galore_rank=16)


def test_layerwise_updates_are_the_same_and_leave_no_gradient():
    plain, layerwise = tiny_llama(), tiny_llama()
    losses = train(plain, build(plain), 4)
    optimizer = build(layerwise, galore_layerwise=True)
    assert train(layerwise, optimizer, 4) == losses
    assert same(plain, layerwise)
    layerwise(tokens(), labels=tokens()).loss.backward()
    assert all(p.grad is None for p in layerwise.parameters())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"galore_rank": 0}, "galore_rank=0 is not positive"),
        ({"galore_update_interval": 0}, "galore_update_interval=0 is not positive"),
        ({"optim": "adamw_8bit"}, "'adamw_8bit' has no GaLore variant: galore_torch has an 8-bit AdamW, but"),
        ({"optim": "lion_32bit"}, "'lion_32bit' has no GaLore variant"),
        ({"optim_args": "rank=4"}, "optim_args has no effect on GaLore"),
        ({"galore_layerwise": True, "gradient_accumulation_steps": 4}, "cannot be accumulated over 4 batches"),
        ({"galore_layerwise": True, "auto_find_batch_size": True}, "cannot begin again with smaller batches"),
        ({"galore_layerwise": True, "fp16": True}, "before fp16's scaled gradients"),
    ],
)
def test_what_galore_cannot_do_stops_the_plan(keys, message):
    with pytest.raises(ConfigError, match=message):
        make_plan({**KEYS, **keys}, components=["optimizer:galore"])


def test_layerwise_in_several_processes_stops_the_plan(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="averaged over processes"):
        make_plan({**KEYS, "galore_layerwise": True}, components=["optimizer:galore"])


def test_layerwise_warns_that_gradients_are_not_clipped():
    plan = make_plan({**KEYS, "galore_layerwise": True}, components=["optimizer:galore"])
    assert [p.key for p in plan.problems] == ["max_grad_norm"]
