import copy
from contextlib import nullcontext

import peft
import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import Linear
from torch import nn

from ft_plugin_lora.fused import FusedLinear, LowRankUpdate, fuse
from ft_plugin_peft.merging import merged
from ftk_sdk.testing import make_run
from ftk_sdk.tiny import tiny_llama

IDS = torch.arange(24).view(2, 12) * 7 % 512
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def noisy(model: nn.Module, seed: int = 1) -> nn.Module:
    """The model as if training had changed its adapter."""
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        if p.requires_grad:
            p.data += 0.3 * torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)
    return model


def layer_of(dtype=torch.float64, adapter=torch.float64, bias=False, **options) -> Linear:
    """One adapted layer of five inputs and six outputs, as peft makes it."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"it": nn.Linear(5, 6, bias=bias, dtype=dtype)})
    model = peft.get_peft_model(
        model, peft.LoraConfig(**{"r": 3, "lora_alpha": 5, "target_modules": ["it"], **options})
    )
    layer = noisy(model).base_model.model["it"]
    assert type(layer) is Linear
    for p in layer.parameters():
        if p.requires_grad:
            p.data = p.data.to(adapter)
    return layer


def fused_copy(layer: Linear) -> FusedLinear:
    mine = copy.deepcopy(layer)
    assert fuse(mine) == 1
    return mine


def outcome(layer: nn.Module, x: torch.Tensor, products: int = 0) -> list[torch.Tensor]:
    """Output, and the gradients of the input and of all that trains."""
    x = x.clone().requires_grad_()
    y = layer(x)
    assert products_in(y) == products
    y.backward(torch.linspace(-1, 1, y.numel()).view(y.shape).to(y.dtype))
    return [y.detach(), x.grad, *(p.grad for p in layer.parameters() if p.requires_grad)]


def products_in(y: torch.Tensor) -> int:
    """How many products of a layer and its update the graph behind ``y`` holds."""
    seen, waiting = set(), [y.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [parent for parent, _ in node.next_functions]
    return sum(node.name() == "LowRankUpdateBackward" for node in seen)


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 5), (5,), (2, 0, 5)])
@pytest.mark.parametrize("options", [{}, {"bias": True}, {"use_rslora": True}])
def test_output_and_gradients_are_those_of_peft_in_float64(shape, options):
    layer, x = layer_of(**options), torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(outcome(fused_copy(layer), x, products=1), outcome(layer, x), **EXACT)


def test_an_input_in_any_order_of_memory_is_the_same():
    layer, x = layer_of(), torch.randn(3, 5, 4, dtype=torch.float64).transpose(1, 2)
    torch.testing.assert_close(outcome(fused_copy(layer), x, products=1), outcome(layer, x), **EXACT)


def test_gradients_are_those_of_finite_differences():
    shapes = [(2, 3, 5), (6, 5), (6,), (3, 5), (6, 3)]
    x, w, bias, a, b = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
    wanted = [t.requires_grad_() for t in (x, a, b)]
    assert torch.autograd.gradcheck(lambda x, a, b: LowRankUpdate.apply(x, w, bias, a, b, 1.5), wanted)


@pytest.mark.parametrize("frozen", ["x", "lora_A", "lora_B"])
def test_what_needs_no_gradient_gets_none(frozen):
    layer = fused_copy(layer_of())
    for name, p in layer.named_parameters():
        p.requires_grad_(p.requires_grad and frozen not in name)
    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=frozen != "x")
    layer(x).sum().backward()
    assert (x.grad is None) == (frozen == "x")
    assert [p.grad is not None for n, p in layer.named_parameters() if "lora" in n] == [
        frozen != "lora_A",
        frozen != "lora_B",
    ]


@pytest.mark.parametrize(
    ("base", "adapter", "x", "autocast", "computed"),
    [
        (torch.float32, torch.float32, torch.float32, None, torch.float32),
        (torch.bfloat16, torch.bfloat16, torch.bfloat16, None, torch.bfloat16),
        (torch.bfloat16, torch.float32, torch.bfloat16, torch.bfloat16, torch.bfloat16),
        (torch.bfloat16, torch.float32, torch.float32, torch.bfloat16, torch.bfloat16),
        (torch.float16, torch.float32, torch.float32, torch.float16, torch.float16),
        (torch.float32, torch.float32, torch.float32, torch.bfloat16, None),
        (torch.bfloat16, torch.float32, torch.bfloat16, None, None),
        (torch.float64, torch.float64, torch.float64, torch.bfloat16, None),
    ],
)
def test_types_are_those_of_peft_and_results_too_but_for_rounding(base, adapter, x, autocast, computed):
    layer = layer_of(base, adapter)
    context = nullcontext() if autocast is None else torch.autocast("cpu", autocast)
    given = torch.randn(7, 5, dtype=x)
    with context:
        expected, found = outcome(layer, given), outcome(fused_copy(layer), given, products=int(computed is not None))
    assert [t.dtype for t in found] == [t.dtype for t in expected]
    rounding = torch.finfo(computed or base).eps
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=4 * rounding, atol=4 * rounding * theirs.abs().max().item())


def test_half_precision_is_rounded_less_often_than_by_peft():
    """Against the same computation in float64 of the same weights."""
    layer = layer_of(torch.bfloat16, torch.bfloat16)
    x = torch.randn(64, 5, dtype=torch.bfloat16)
    exact = copy.deepcopy(layer).double()(x.double())
    errors = [(y.double() - exact).abs().mean() for y in (fused_copy(layer)(x), layer(x))]
    assert errors[0] < errors[1]


def with_two_adapters(layer):
    layer.update_layer("other", 2, 4, peft.LoraConfig(r=2))
    layer.set_adapter(["default", "other"])


def quantised(layer):
    layer.base_layer.__class__ = type("Linear4bit", (nn.Linear,), {})


class Sharded(torch.Tensor):
    """Such as DTensor of FSDP."""


def sharded(layer):
    layer.base_layer.weight = nn.Parameter(layer.base_layer.weight.detach().as_subclass(Sharded), requires_grad=False)


PECULIAR = {
    "dropout": ({"lora_dropout": 0.5}, lambda layer: None),
    "a variant": ({"use_dora": True}, lambda layer: None),
    "a bias of the update": ({"lora_bias": True, "bias": True}, lambda layer: None),
    "two adapters": ({}, with_two_adapters),
    "no adapter": ({}, lambda layer: layer.enable_adapters(False)),
    "a merged adapter": ({}, Linear.merge),
    "a hook inside": ({}, lambda layer: layer.lora_A["default"].register_forward_hook(lambda *_: None)),
    "a forward of its own": ({}, lambda layer: setattr(layer.base_layer, "forward", layer.base_layer.forward)),
    "a weight that trains": ({}, lambda layer: layer.base_layer.weight.requires_grad_(True)),
    "a layer of a quantisation library": ({}, quantised),
    "a weight of a class of its own": ({}, sharded),
}


@pytest.mark.parametrize("what", PECULIAR)
def test_whatever_needs_more_than_one_product_is_peft_s_own(what):
    options, change = PECULIAR[what]
    layer, x = layer_of(**options), torch.randn(4, 5, dtype=torch.float64)
    results = []
    for one in (layer, fused_copy(layer)):
        torch.manual_seed(3)
        change(one)
        results.append(outcome(one, x))
    for theirs, mine in zip(*results, strict=True):
        assert (mine is theirs is None) or torch.equal(mine, theirs)


def test_arguments_beside_the_input_are_peft_s_own():
    layer, x = fused_copy(layer_of()), torch.randn(2, 5, dtype=torch.float64)
    y = layer(x, adapter_names=["default", "__base__"])
    assert products_in(y) == 0
    torch.testing.assert_close(y[1], layer.base_layer(x[1]), **EXACT)


def test_dropout_at_rest_does_not_matter():
    layer, x = layer_of(lora_dropout=0.5).eval(), torch.randn(4, 5, dtype=torch.float64)
    torch.testing.assert_close(outcome(fused_copy(layer), x, products=1), outcome(layer, x), **EXACT)


def test_a_second_derivative_is_refused_rather_than_wrong():
    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    (dx,) = torch.autograd.grad(fused_copy(layer_of())(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dx.sum().backward()


def adapted(dtype=torch.float64, **keys) -> PeftModel:
    return noisy(make_run(keys, components=["adapter:lora"]).adapt_model(tiny_llama(dtype=dtype)))


def loss_of(model: nn.Module) -> torch.Tensor:
    return nn.functional.cross_entropy(model(IDS).logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())


def losses_of(model: nn.Module, steps: int = 3) -> torch.Tensor:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def test_training_gives_the_losses_of_peft():
    mine, theirs = adapted(), adapted(lora_fused=False)
    assert [products_in(loss_of(model)) for model in (mine, theirs)] == [2 * 7, 0]
    torch.testing.assert_close(losses_of(mine), losses_of(theirs), **EXACT)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints_give_the_losses_of_peft(reentrant):
    models = [adapted(lora_fused=it, use_reentrant_gc=reentrant).train() for it in (True, False)]
    for model in models:
        model.activation_checkpointing_enable({"use_reentrant": reentrant})
    torch.testing.assert_close(*map(losses_of, models), **EXACT)


def test_without_its_adapter_it_is_the_base_model():
    model = adapted()
    with model.disable_adapter():
        assert torch.equal(model(IDS).logits, tiny_llama(dtype=torch.float64)(IDS).logits)
    assert products_in(loss_of(model)) == 2 * 7


def test_only_training_computes_so(tmp_path):
    adapted().save_pretrained(tmp_path)
    run = make_run({"adapter_name_or_path": str(tmp_path)}, components=["adapter:lora"], action="chat")
    assert not any(isinstance(m, FusedLinear) for m in run.adapt_model(tiny_llama()).modules())


def test_what_is_saved_and_merged_is_the_same(tmp_path):
    mine, theirs = adapted(), adapted(lora_fused=False)
    for name, model in (("mine", mine), ("theirs", theirs)):
        model.save_pretrained(tmp_path / name)
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "mine" / file).read_bytes() == (tmp_path / "theirs" / file).read_bytes()
    for a, b in zip(merged(mine).parameters(), merged(theirs).parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_copy_computes_with_weights_of_its_own():
    model = adapted()
    other = copy.deepcopy(model)
    noisy(other, seed=2)
    loss_of(other).backward()
    assert all(p.grad is None for p in model.parameters())
    assert products_in(loss_of(other)) == 2 * 7


def test_compiled_it_is_the_same_in_one_graph():
    layer, x = layer_of(), torch.randn(2, 4, 5, dtype=torch.float64)
    mine = fused_copy(layer)
    mine.compile(dynamic=True, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(outcome(mine, x), outcome(layer, x), **EXACT)
