"""Which parameters train."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transformers import PreTrainedModel

from ftk.markers import hookimpl
from ftk.problems import RunError

from .config import SkeletonNameConfig

if TYPE_CHECKING:
    from ftk.run import Run


class SkeletonName:
    @hookimpl
    def ftk_adapt_model(self, run: Run, model: PreTrainedModel) -> PreTrainedModel:
        if run.plan.action != "train":
            return model  # its folder holds the trained weights
        parts = run.config[SkeletonNameConfig].skeleton_name_train
        trained = [name for name, _ in model.named_parameters() if any(part in name for part in parts)]
        if not trained:
            message = f"skeleton_name_train={parts!r} matches no parameter of this model"
            raise RunError(message, "name parts of parameters, such as norm or layers.0")
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in trained)
        run.logger.info("%d of %d parameters train", len(trained), len(list(model.parameters())))
        return model
