"""Hooks of the run phase from the trainer on. Implemented by the classes that components name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..markers import hookspec

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    import transformers

    from ..contracts import (
        Artifact,
        Engine,
        Parts,
        Trainer,
    )
    from ..run import Run


class Training:
    """The trainer and its parts."""

    @hookspec
    def ftk_training_args(self, run: Run) -> dict[str, Any]:
        """Trainer keys that a component must set. Merged; two setting one is an error.

        Called   once, before the model is loaded
        Returns  keyword arguments of ``transformers.TrainingArguments``
        Default  nothing
        Example  ``return {"deepspeed": path}``
        """

    @hookspec(firstresult=True)
    def ftk_build_optimizer(self, run: Run, model: torch.nn.Module) -> torch.optim.Optimizer:
        """The optimizer of the model's trainable parameters. At most one provider.

        Called   once, by the trainer, after the model is placed
        Returns  an optimizer with each trainable parameter in exactly one group
        Default  AdamW of torch
        Example  ``return Muon(groups, lr=run.config[TrainerConfig].learning_rate)``
        """

    @hookspec(firstresult=True)
    def ftk_build_scheduler(
        self, run: Run, optimizer: torch.optim.Optimizer, steps: int
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The learning-rate schedule. At most one provider.

        Called   once, after the optimizer; ``steps`` is the number of optimizer steps
        Returns  a scheduler
        Default  the trainer's ``lr_scheduler_type``
        Example  ``return LambdaLR(optimizer, warmup_stable_decay(steps))``
        """

    @hookspec(firstresult=True)
    def ftk_loss(self, run: Run) -> Callable[..., torch.Tensor]:
        """A loss in place of the stage's own. At most one provider.

        Called   once, by the stage, before training
        Returns  a pure function of tensors; the stage documents its arguments
        Default  the stage's own loss
        Example  ``return partial(dft_loss, alpha=0.1)``
        """

    @hookspec
    def ftk_callbacks(self, run: Run) -> list[Any]:
        """Callbacks for the trainer, in plan order.

        Called   once, before the trainer is built
        Returns  ``transformers.TrainerCallback`` objects
        Default  none
        Example  ``return [EarlyStoppingCallback(3)]``
        """

    @hookspec(firstresult=True)
    def ftk_build_trainer(self, run: Run, parts: Parts) -> Trainer:
        """The trainer. One provider, the stage; then wrappers.

        Called   once, when all its parts are there
        Returns  an object with ``train()``, ``evaluate()`` and ``model``
        Default  none
        Example  ``return FtkTrainer(run, parts)``
        """


class After:
    """What is done with a trained model."""

    @hookspec(firstresult=True)
    def ftk_engine(self, run: Run) -> Engine:
        """An inference back end with the run's model. One provider.

        Called   once, by ``ftk chat`` and servers
        Returns  an engine
        Default  none; ``engine:hf`` is the default component
        Example  ``return TransformersEngine(model, template)``
        """

    @hookspec
    def ftk_export(self, run: Run, model: transformers.PreTrainedModel, tokenizer: Any) -> Artifact:
        """Write the model in some form.

        Called   once for each exporter in the plan, after training or by ``ftk export``
        Returns  what was written; a folder is written whole or not at all
        Default  nothing
        Example  merge adapters into the weights and save them
        """
