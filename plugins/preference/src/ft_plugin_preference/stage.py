"""What stages that learn from pairs have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import nn

from ft_plugin_data.config import DataConfig
from ft_plugin_data.truncation import Fitting
from ft_plugin_reference_model.reference import reference_for
from ft_plugin_trainer.trainer import FtkTrainer
from ftk.markers import hookimpl

from .config import PreferenceConfig
from .losses import PreferenceLoss
from .objective import PairObjective
from .pairs import REFERENCE, PairEncoder
from .precomputed import use_precomputed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ftk.contracts import Parts, Template
    from ftk.run import Run


class PairStage:
    """A stage that minimises preference losses. Subclasses say which."""

    def losses(self, run: Run) -> Mapping[str, tuple[float, PreferenceLoss]]:
        """Name -> weight and loss."""
        raise NotImplementedError

    @hookimpl
    def ftk_encoder(self, run: Run, tokenizer: PreTrainedTokenizerBase, template: Template) -> PairEncoder:
        return pair_encoder(run, tokenizer, template)

    @hookimpl
    def ftk_build_trainer(self, run: Run, parts: Parts) -> FtkTrainer:
        return pair_trainer(run, parts, self.losses(run))


def pair_encoder(run: Run, tokenizer: PreTrainedTokenizerBase, template: Template) -> PairEncoder:
    data = run.config[DataConfig]
    return PairEncoder(tokenizer, Fitting(template, cutoff_len=data.cutoff_len, policy=data.truncation))


def pair_trainer(run: Run, parts: Parts, losses: Mapping[str, tuple[float, PreferenceLoss]]) -> FtkTrainer:
    """A trainer of ``parts.model`` on the sum of the weighted losses."""
    config = run.config[PreferenceConfig]
    if not config.pref_dropout and (n := switch_off_dropout(parts.model)):
        run.logger.info("dropout is off in %d places; pref_dropout: true keeps it", n)
    compares = bool(config.pref_bco_weight) or any(loss.reference for _, loss in losses.values())
    objective = PairObjective(
        losses,
        beta=config.pref_beta,
        reference=reference_for(run, parts.model) if compares else None,
        ftx=config.pref_ftx,
        bco=config.pref_bco_weight,
        ld_alpha=config.ld_alpha,
        share=config.pref_shared_prompt,
    )
    trainer = FtkTrainer(run, parts, objective)
    if compares and config.precompute_ref_log_probs:
        summed = f"ld_alpha={config.ld_alpha}"
        logps = objective.reference_logps
        use_precomputed(run, trainer, objective.reference, logps, columns=REFERENCE, summed=summed)
        objective.reference = None
    return trainer


def switch_off_dropout(model: nn.Module) -> int:
    """Make dropout layers and attention let everything through. Returns how many did not."""
    places = 0
    for module in model.modules():
        for name in ("p",) if isinstance(module, nn.modules.dropout._DropoutNd) else ("attention_dropout", "dropout"):
            rate = getattr(module, name, None)
            if isinstance(rate, float) and rate > 0:
                setattr(module, name, 0.0)
                places += 1
    return places
