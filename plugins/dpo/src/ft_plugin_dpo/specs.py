"""The extension point of preference losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ftk.markers import hookspec

if TYPE_CHECKING:
    from ft_plugin_preference.losses import PreferenceLoss
    from ftk.run import Run


class DpoSpecs:
    @hookspec
    def ftk_preference_losses(self, run: Run) -> Mapping[str, PreferenceLoss]:
        """Losses that ``pref_loss`` can name. Merged; two components offering one name is an error.

        Called   once, by ``stage: dpo``, on the components ``preference-loss:NAME`` that ``pref_loss`` names
        Returns  name -> ``PreferenceLoss``, a pure function of log-probabilities and what it needs
        Default  nothing
        Example  ``return {"hinge": PreferenceLoss(lambda pairs: torch.relu(1 - 0.1 * pairs.margin_B))}``
        """
