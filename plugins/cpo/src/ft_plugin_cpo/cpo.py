"""CPO: DPO against a uniform reference, beside fine-tuning on the chosen answer.

Shape suffix: B pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from ft_plugin_preference.config import PreferenceConfig
from ft_plugin_preference.losses import Pairs, PreferenceLoss
from ft_plugin_preference.stage import PairStage

from .config import CpoConfig

if TYPE_CHECKING:
    from ftk.run import Run


class Cpo(PairStage):
    def losses(self, run: Run) -> Mapping[str, tuple[float, PreferenceLoss]]:
        shared, alpha = run.config[PreferenceConfig], run.config[CpoConfig].cpo_alpha
        function = partial(cpo_loss, beta=shared.pref_beta, alpha=alpha, eps=shared.dpo_label_smoothing)
        return {"cpo": (1.0, PreferenceLoss(function, reference=False))}


def cpo_loss(pairs: Pairs, *, beta: float, alpha: float, eps: float = 0.0) -> torch.Tensor:
    """L_prefer + L_NLL of arXiv:2401.08417 (section 3), the latter times ``alpha`` and, as in TRL, a mean over tokens.

    ``eps`` is the probability that a pair is the wrong way round, as in conservative DPO.
    """
    logits_B = beta * (pairs.chosen_B - pairs.rejected_B)
    preferred_B = -(1 - eps) * F.logsigmoid(logits_B) - eps * F.logsigmoid(-logits_B)
    return preferred_B - alpha * pairs.chosen_mean_B
