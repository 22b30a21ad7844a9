"""The extension points of policy gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ftk.markers import hookspec

if TYPE_CHECKING:
    import torch

    from ftk.run import Run

    from .losses import PolicyLoss


class Advantage(Protocol):
    """From rewards to advantages. A pure function."""

    def __call__(self, rewards_PG: torch.Tensor) -> torch.Tensor:
        """An advantage for each completion, P prompts with G completions each, in float64.

        All prompts of the step are there, also those of other processes. Where a completion has no reward there is NaN,
        and NaN may be returned: nothing is learnt from it.
        """
        ...


class PolicySpecs:
    @hookspec
    def ftk_advantages(self, run: Run) -> dict[str, Advantage]:
        """Advantages by name. Merged; two components offering one name is an error.

        Called   once, before training, on the components of the kind ``advantage`` that the plan holds
        Returns  name -> advantage
        Default  nothing
        Example  ``return {"sign": lambda rewards_PG: (rewards_PG - rewards_PG.nanmean(-1, keepdim=True)).sign()}``
        """

    @hookspec
    def ftk_policy_losses(self, run: Run) -> dict[str, PolicyLoss]:
        """Losses by name. Merged; two components offering one name is an error.

        Called   once, before training, on the components of the kind ``policy-loss`` that the plan holds
        Returns  name -> what is minimised, and what it is averaged over
        Default  nothing
        Example  ``return {"unclipped": PolicyLoss(unclipped, per="token")}``
        """
