"""The extension point of rewards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ftk.markers import hookspec

if TYPE_CHECKING:
    from ftk.contracts import Message
    from ftk.run import Run


class Reward(Protocol):
    """Scores completions. A plain function is one."""

    def __call__(
        self, *, prompts: Sequence[Sequence[Message]], completions: Sequence[str], **columns: Sequence[Any]
    ) -> Sequence[float | None]:
        """A number for each completion; ``None`` where the reward does not apply.

        prompts      the conversation that each completion answers
        completions  their texts
        columns      the other columns of the data, an entry for each completion: ``answer``, ``tests``, ...; and
                     ``finished``: whether the completion ended by itself

        All are passed by keyword, so that a function names those it wants and takes the rest as ``**columns``.
        """
        ...


class RewardSpecs:
    @hookspec
    def ftk_rewards(self, run: Run) -> dict[str, Reward]:
        """Rewards by name, as they stand in the log. Merged; two components offering one name is an error.

        Called   once, before the first step
        Returns  name -> reward; all are used, as a plan holds only what was asked for
        Default  nothing
        Example  ``return {"short": lambda *, completions, **columns: [-len(text) for text in completions]}``
        """
