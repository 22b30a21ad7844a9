import math

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from transformers import Trainer

from ft_plugin_torch_optim import plugin
from ft_plugin_torch_optim.arguments import parse_optim_args
from ft_plugin_torch_optim.groups import hidden_matrices, parameter_groups
from ftk.problems import ConfigError, RunError
from ftk_sdk.contracts import OptimizerContract, PluginContract
from ftk_sdk.testing import make_plan, make_run
from ftk_sdk.tiny import tiny_llama

LR, DECAY, STEPS = 0.02, 0.1, 3
KEYS = {"learning_rate": LR, "weight_decay": DECAY, "adam_beta1": 0.8, "adam_beta2": 0.95, "adam_epsilon": 1e-7}


class TestPlugin(PluginContract):
    plugin = plugin


class TestAdamW(OptimizerContract):
    component = "optimizer:adamw"
    keys = {"optim": "adamw", "learning_rate": 1e-2}


class TestAdafactor(OptimizerContract):
    component = "optimizer:adafactor"
    keys = {"optim": "adafactor_torch", "learning_rate": 1e-1}


class TestSgd(OptimizerContract):
    component = "optimizer:sgd"
    keys = {"optim": "sgd", "learning_rate": 1e-1, "optim_args": "momentum=0.9"}


class TestMuon(OptimizerContract):
    component = "optimizer:muon"
    keys = {"use_muon": True, "learning_rate": 1e-2}


def build(name: str, model: nn.Module, **keys) -> torch.optim.Optimizer:
    return make_run({**KEYS, **keys}, components=[f"optimizer:{name}"]).build_optimizer(model)


def gradients(model: nn.Module, step: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    return {name: torch.randn(p.shape, generator=generator, dtype=torch.float64) for name, p in named}


def take_steps(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        for name, gradient in gradients(model, step).items():
            model.get_parameter(name).grad = gradient.to(model.get_parameter(name).dtype)
        optimizer.step()
        optimizer.zero_grad()


class Net(nn.Module):
    """A matrix, a bias and a norm in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.norm = nn.LayerNorm(4)
        self.double()


def start() -> Net:
    torch.manual_seed(0)
    return Net()


def decay_of(name: str) -> float:
    return DECAY if name == "linear.weight" else 0.0


def adamw_reference(w, grads, decay):
    """Algorithm 2 of arXiv:1711.05101."""
    m = v = torch.zeros_like(w)
    for t, g in enumerate(grads, 1):
        w = w - LR * decay * w
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g * g
        w = w - LR * (m / (1 - 0.8**t)) / ((v / (1 - 0.95**t)).sqrt() + 1e-7)
    return w


def sgd_reference(w, grads, decay):
    """With momentum 0.9 and torch's L2 penalty."""
    buffer = None
    for g in grads:
        g = g + decay * w
        buffer = g if buffer is None else 0.9 * buffer + g
        w = w - LR * buffer
    return w


def adafactor_reference(w, grads, decay):
    """Algorithms 4 and 5 of arXiv:1804.04235 with decoupled weight decay."""
    rows = columns = second = 0.0
    for t, g in enumerate(grads, 1):
        rho, beta = min(LR, 1 / math.sqrt(t)), 1 - t**-0.8
        size = max(1e-3, w.pow(2).mean().sqrt().item())
        w = w - LR * decay * w
        if g.ndim == 2:
            rows = beta * rows + (1 - beta) * g.pow(2).mean(1, keepdim=True)
            columns = beta * columns + (1 - beta) * g.pow(2).mean(0, keepdim=True)
            second = rows @ columns / rows.mean()
        else:
            second = beta * second + (1 - beta) * g.pow(2)
        update = g / second.sqrt()
        w = w - size * rho * update / max(1.0, update.pow(2).mean().sqrt().item())
    return w


def muon_reference(w, grads, decay):
    """Nesterov momentum, five Newton-Schulz steps, and equation 4 of arXiv:2502.16982."""
    buffer = torch.zeros_like(w)
    for g in grads:
        buffer = 0.95 * buffer + g
        x = g + 0.95 * buffer
        x = x / x.norm()
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        w = w - LR * decay * w - LR * 0.2 * math.sqrt(max(w.shape)) * x
    return w


@pytest.mark.parametrize(
    ("name", "reference", "keys"),
    [
        ("adamw", adamw_reference, {}),
        ("sgd", sgd_reference, {"optim_args": "momentum=0.9"}),
        ("adafactor", adafactor_reference, {}),
    ],
)
def test_steps_equal_the_formula_in_float64(name, reference, keys):
    model, first = start(), start()
    take_steps(model, build(name, model, **keys), range(STEPS))
    grads = [gradients(first, step) for step in range(STEPS)]
    for key, parameter in first.named_parameters():
        expected = reference(parameter.detach(), [g[key] for g in grads], decay_of(key))
        torch.testing.assert_close(model.get_parameter(key).detach(), expected, rtol=1e-12, atol=1e-12)


def test_muon_orthogonalises_matrices_and_gives_the_rest_to_adamw():
    model, first = start(), start()
    take_steps(model, build("muon", model), range(STEPS))
    grads = [gradients(first, step) for step in range(STEPS)]
    for key, parameter in first.named_parameters():
        matrix = key == "linear.weight"
        reference = muon_reference if matrix else adamw_reference
        expected = reference(parameter.detach(), [g[key] for g in grads], decay_of(key))
        # torch iterates in bfloat16: three steps of entries up to 1, each off by less than 2**-6.
        tolerance = 3 * 2**-6 * LR * 0.2 * math.sqrt(6) if matrix else 1e-12
        torch.testing.assert_close(model.get_parameter(key).detach(), expected, rtol=0, atol=tolerance)


def test_muon_takes_hidden_matrices_only():
    model = tiny_llama()
    chosen = {id(p) for p in hidden_matrices(model)}
    names = {name.rsplit(".", 2)[-2] for name, p in model.named_parameters() if id(p) in chosen}
    assert names == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_muon_leaves_a_tied_embedding_and_a_score_vector_to_adamw():
    assert not any(p.shape[0] == 512 for p in hidden_matrices(tiny_llama(tied=True)))
    assert hidden_matrices(nn.Sequential(nn.Embedding(8, 4), nn.Linear(4, 1))) == []


def test_weight_decay_leaves_out_what_transformers_leaves_out():
    model = nn.ModuleDict({"llama": tiny_llama(), "net": Net(), "head": nn.ModuleDict({"q_norm": nn.Linear(2, 2)})})
    decayed = set(Trainer.get_decay_parameter_names(None, model))
    groups = parameter_groups(model, DECAY)
    ours = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    assert ours == {id(p) for name, p in model.named_parameters() if name in decayed}


def test_a_tied_embedding_is_in_one_group():
    model = tiny_llama(tied=True)
    grouped = [id(p) for group in build("muon", model).param_groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())


def test_muon_survives_the_checkpoints_of_accelerate(tmp_path):
    straight, stopped = tiny_llama(), tiny_llama()
    take_steps(straight, build("muon", straight), range(2))
    accelerator = Accelerator(cpu=True)
    model, optimizer = accelerator.prepare(stopped, build("muon", stopped))
    take_steps(model, optimizer, range(1))
    accelerator.save_state(str(tmp_path))
    take_steps(model, optimizer, range(5, 6))
    accelerator.load_state(str(tmp_path))
    take_steps(model, optimizer, range(1, 2))
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize("optim", ["adamw", "sgd", "muon"])
def test_optim_names_an_optimizer_of_torch(optim):
    assert f"optimizer:{optim}" in selected({"optim": optim})


def test_names_of_transformers_stay_its_own():
    assert selected({"optim": "adafactor"}) == []
    assert selected({"optim": "adafactor_torch"}) == ["optimizer:adafactor"]


def selected(keys: dict) -> list[str]:
    return plugin.ftk_select(make_plan(keys, components=[]).config)


def test_muon_says_that_another_optim_is_not_used():
    plan = make_plan({"optim": "adamw_torch", "use_muon": True}, components=["optimizer:muon"])
    assert [p.key for p in plan.problems if p.level == "warning"] == ["optim"]


def test_muon_without_a_hidden_matrix_is_an_error():
    with pytest.raises(RunError, match="no trainable hidden matrix"):
        build("muon", nn.Embedding(4, 4))


def test_nothing_trainable_is_an_error():
    with pytest.raises(RunError, match="no parameter of the model is trainable"):
        build("adamw", nn.Linear(2, 2).requires_grad_(False))


def test_optim_args_are_python_literals():
    text = "momentum=0.9, nesterov=true,adjust_lr_fn = original, eps=none"
    assert parse_optim_args(text) == {"momentum": 0.9, "nesterov": True, "adjust_lr_fn": "original", "eps": None}
    assert parse_optim_args(None) == {}


@pytest.mark.parametrize("text", ["momentum", "=1", "momentum=", "a=1,a=2", "0x=1"])
def test_malformed_optim_args_stop_the_plan(text):
    with pytest.raises(ConfigError, match="optim_args"):
        make_plan({"optim_args": text}, components=["optimizer:sgd"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mu=0.9", "'mu' is no argument of SGD"),
        ("lr=0.1", "'lr' has a key of its own"),
        ("momentum=-1", "refuses its arguments: Invalid momentum"),
    ],
)
def test_arguments_that_the_optimizer_does_not_take_are_an_error(text, message):
    with pytest.raises(RunError, match=message):
        build("sgd", nn.Linear(2, 2), optim_args=text)
