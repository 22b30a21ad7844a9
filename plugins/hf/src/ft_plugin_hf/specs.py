"""The extension point of loading models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftk.markers import hookspec

if TYPE_CHECKING:
    from ftk.contracts import Role
    from ftk.run import Run


class HfSpecs:
    @hookspec
    def ftk_model_name(self, run: Run, role: Role) -> str | None:
        """The model to load for a role other than ``policy``. Two different answers for one role are an error.

        Called   once for each model that is loaded for such a role
        Returns  what ``model_name_or_path`` could be, or ``None`` for a role that is none of this component's business
        Default  ``model_name_or_path``: the weights that training starts from
        Example  ``return run.config[RewardConfig].reward_model if role == "reward" else None``
        """
