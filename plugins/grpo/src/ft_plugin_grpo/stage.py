"""The stage, for every method that learns from groups of completions: they differ in loss, advantage and penalty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ft_plugin_data.config import DataConfig
from ft_plugin_reference_model.reference import reference_for
from ft_plugin_rewards.scoring import Rewards
from ft_plugin_rollouts.prompts import PromptEncoder
from ft_plugin_rollouts.repeating import RepeatedBatches
from ft_plugin_rollouts.rollouts import EVERY_TOKEN, Rollouts
from ft_plugin_trainer.config import TrainerConfig
from ft_plugin_trainer.trainer import FtkTrainer
from ftk.contracts import Template
from ftk.markers import hookimpl
from ftk.problems import RunError

from .config import GrpoConfig
from .objective import PolicyGradient

if TYPE_CHECKING:
    from torch.utils.data import Dataset, Sampler
    from transformers import PreTrainedTokenizerBase

    from ftk.contracts import Parts
    from ftk.run import Run


class PolicyStage:
    """A stage. Another package makes one with a component that names this class and its own arguments.

    loss, advantage  names that stand in for ``grpo_loss`` and ``grpo_advantage`` where these are not set
    penalty          where ``grpo_beta`` counts: in the loss, or off the reward
    """

    def __init__(
        self, loss: str = "grpo", advantage: str = "group", penalty: Literal["loss", "reward"] = "loss"
    ) -> None:
        self.loss, self.advantage, self.penalty = loss, advantage, penalty

    @hookimpl
    def ftk_encoder(self, run: Run, tokenizer: PreTrainedTokenizerBase, template: Template) -> PromptEncoder:
        return PromptEncoder(tokenizer, template, cutoff_len=run.config[DataConfig].cutoff_len)

    @hookimpl
    def ftk_build_trainer(self, run: Run, parts: Parts) -> FtkTrainer:
        config = run.config[GrpoConfig]
        losses = run.merged("ftk_policy_losses", into="the losses", run=run)
        advantages = run.merged("ftk_advantages", into="the advantages", run=run)
        objective = PolicyGradient(
            run,
            rollouts=Rollouts(run, parts.tokenizer, parts.template, unset=EVERY_TOKEN),
            rewards=Rewards(run),
            loss=chosen(losses, "grpo_loss", config.grpo_loss or self.loss),
            advantage=chosen(advantages, "grpo_advantage", config.grpo_advantage or self.advantage),
            reference=reference_for(run, parts.model) if config.grpo_beta else None,
            penalty=self.penalty,
            rows=config.grpo_micro_batch_size or run.config[TrainerConfig].per_device_train_batch_size,
        )
        return PolicyTrainer(run, parts, objective)


def chosen(offered: dict, key: str, name: str):
    if name not in offered:
        raise RunError(f"{key}: no component of this plan offers {name!r}", f"there are {', '.join(offered)}")
    return offered[name]


class PolicyTrainer(FtkTrainer):
    """Draws each batch of prompts for as many steps as are made of its completions."""

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        times = self.run.config[GrpoConfig].grpo_num_iterations
        sampler = super()._get_train_sampler(dataset)
        if times == 1 or sampler is None:
            return sampler
        size = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps
        size *= self.accelerator.num_processes
        if len(dataset) < size:  # type: ignore[arg-type]
            message = f"{len(dataset)} prompts are fewer than a step takes ({size}), as grpo_num_iterations={times}"  # type: ignore[arg-type]
            raise RunError(f"{message} wants whole ones", "lower per_device_train_batch_size")
        shuffle = self.args.train_sampling_strategy == "random"
        return RepeatedBatches(len(dataset), size, times, seed=self.run.seed if shuffle else None)  # type: ignore[arg-type]
