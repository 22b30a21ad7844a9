"""A layer and its update as one product, for what peft computes as several.

peft adds ``scale * B(A(x))`` to the output of a layer in passes of their own over tensors as large as that output, and
autograd does the same backwards to the gradient of ``x``. Here every such step is added in place by the product that
makes it, and the type of ``x`` is changed once instead of twice for each layer.

Shapes: N tokens, I inputs and O outputs of the layer, R the rank.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


class LowRankUpdate(torch.autograd.Function):
    """``x W^T + bias + scale x A^T B^T`` with frozen W and bias (equation 3 of arXiv:2106.09685).

    All tensors are of one type. Keeps x and ``x A^T`` for the backward pass, so that layers with the same input share
    what they keep. Cannot be differentiated twice.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w_OI: Tensor, bias_O: Tensor | None, a_RI: Tensor, b_OR: Tensor, scale: float
    ) -> Tensor:
        x_NI = x.reshape(-1, x.shape[-1])
        h_NR = x_NI @ a_RI.T
        y_NO = functional.linear(x_NI, w_OI, bias_O).addmm_(h_NR, b_OR.T, alpha=scale)
        ctx.save_for_backward(x, w_OI, a_RI, b_OR, h_NR)
        ctx.scale = scale
        return y_NO.view(*x.shape[:-1], y_NO.shape[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, w_OI, a_RI, b_OR, h_NR = ctx.saved_tensors
        of_x, _, _, of_a, of_b, _ = ctx.needs_input_grad
        dy_NO, dx, da_RI, db_OR = dy.reshape(-1, dy.shape[-1]), None, None, None
        g_NR = (dy_NO @ b_OR).mul_(ctx.scale)
        if of_b:
            # The transposed product is up to twice as fast: BLAS prefers the long side as columns.
            db_OR = (h_NR.T @ dy_NO).mul_(ctx.scale).T
        if of_a:
            da_RI = g_NR.T @ x.reshape(-1, x.shape[-1])
        if of_x:
            dx = (dy_NO @ w_OI).addmm_(g_NR, a_RI).view(x.shape)
        return dx, None, None, da_RI, db_OR, None


class FusedLinear(Linear):
    """peft's adapted ``nn.Linear``, whose forward is one ``LowRankUpdate`` wherever that is the same computation.

    With dropout, several or no active adapters, a merged or disabled one, a variant such as DoRA, a bias or hooks
    inside the layer, weights that train, are sharded or need another type than the computation, it is peft's own.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        name = None if args or kwargs else self._plain_adapter()
        if name is not None:
            base, a, b = self.base_layer, self.lora_A[name].weight, self.lora_B[name].weight
            if (dtype := _one_type(x, base.weight, a, b)) is not None:
                a, b = a.to(dtype), b.to(dtype)
                return LowRankUpdate.apply(x.to(dtype), base.weight, base.bias, a, b, self.scaling[name])
        return super().forward(x, *args, **kwargs)

    def _plain_adapter(self) -> str | None:
        """Name of the only active adapter if it is a mere product of two matrices beside a frozen one."""
        names = [name for name in self.active_adapters if name in self.lora_A]
        if len(names) != 1 or self.disable_adapters or self.merged or names[0] in self.lora_variant:
            return None
        dropout, base = self.lora_dropout[names[0]], self.base_layer
        layers = (base, self.lora_A[names[0]], self.lora_B[names[0]])
        plain = (
            (isinstance(dropout, nn.Identity) or not dropout.training)
            and all(type(layer) is nn.Linear and not _is_watched(layer) for layer in layers)
            # A sharded or quantised weight is a tensor of another class.
            and all(type(layer.weight) is nn.Parameter for layer in layers)
            and layers[2].bias is None
            and not any(p.requires_grad for p in (base.weight, base.bias) if p is not None)
        )
        return names[0] if plain else None


def fuse(model: nn.Module) -> int:
    """Let each layer that peft adapted as an ``nn.Linear`` compute in one product where it can; their number.

    Only the class of a layer changes, to a subclass of peft's, so that peft treats and saves it as before.
    """
    layers = [module for module in model.modules() if type(module) is Linear]
    for layer in layers:
        layer.__class__ = FusedLinear
    return len(layers)


def _is_watched(layer: nn.Module) -> bool:
    """Whether something else relies on the layer being called: hooks, or a forward as accelerate puts there."""
    hooks = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    return any(hooks) or "forward" in vars(layer)


def _one_type(x: Tensor, w_OI: Tensor, a_RI: Tensor, b_OR: Tensor) -> torch.dtype | None:
    """The type in which peft would compute all of it, or None if it would compute in several."""
    kind, own = x.device.type, w_OI.dtype
    others = {x.dtype, a_RI.dtype, b_OR.dtype}
    if torch.is_autocast_enabled(kind):
        same = torch.get_autocast_dtype(kind) == own and others <= {own, torch.float32}
    else:
        same = others == {own}
    return own if same else None
