"""Muon and AdamW as one optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch


class MuonWithAdamW(torch.optim.Optimizer):
    """Steps hidden matrices with ``torch.optim.Muon`` and everything else with ``torch.optim.AdamW``.

    Both work on the groups and the state of this object: what a scheduler or a checkpoint writes here is what they use.
    Each group says in ``algorithm`` whose it is.

    matrices, others: parameter groups; the parameters of ``matrices`` have two dimensions.
    muon, adamw: keyword arguments of the two.
    """

    def __init__(
        self,
        matrices: Sequence[dict[str, Any]],
        others: Sequence[dict[str, Any]],
        *,
        muon: Mapping[str, Any],
        adamw: Mapping[str, Any],
    ) -> None:
        self._parts: dict[str, torch.optim.Optimizer] = {"muon": torch.optim.Muon(matrices, **muon)}
        if others:
            self._parts["adamw"] = torch.optim.AdamW(others, **adamw)
        groups = [{"algorithm": name, **g} for name, part in self._parts.items() for g in part.param_groups]
        super().__init__(groups, {})
        self._share()

    def _share(self) -> None:
        for name, part in self._parts.items():
            part.param_groups = [g for g in self.param_groups if g["algorithm"] == name]
            part.state = self.state

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self._parts.values():
            part.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share()
