"""The stage: prompts in, and a trainer that draws each of them for all steps that learn from its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ft_plugin_data.config import DataConfig
from ft_plugin_reference_model.reference import reference_for
from ft_plugin_rewards.scoring import Rewards
from ft_plugin_rm.value_head import head_for, load_into, starting_file
from ft_plugin_rollouts.prompts import PromptEncoder
from ft_plugin_rollouts.repeating import RepeatedBatches
from ft_plugin_rollouts.rollouts import EVERY_TOKEN, Rollouts
from ft_plugin_trainer.config import TrainerConfig
from ft_plugin_trainer.trainer import FtkTrainer
from ftk.contracts import Template
from ftk.markers import hookimpl
from ftk.problems import RunError

from . import objective
from .config import PpoConfig

if TYPE_CHECKING:
    from torch.utils.data import DataLoader, Dataset, Sampler
    from transformers import PreTrainedTokenizerBase

    from ftk.contracts import Parts
    from ftk.run import Run


class Ppo:
    @hookimpl
    def ftk_encoder(self, run: Run, tokenizer: PreTrainedTokenizerBase, template: Template) -> PromptEncoder:
        return PromptEncoder(tokenizer, template, cutoff_len=run.config[DataConfig].cutoff_len)

    @hookimpl
    def ftk_build_trainer(self, run: Run, parts: Parts) -> FtkTrainer:
        # It begins with 0 everywhere: what answers are worth on average is learnt in the first steps.
        head, path = head_for(parts.model), starting_file(run)
        if path is not None:
            load_into(head, path)
            run.logger.info("value head: %s", path)
        ppo = objective.Ppo(
            run,
            head=head,
            rollouts=Rollouts(run, parts.tokenizer, parts.template, unset=EVERY_TOKEN),
            rewards=Rewards(run),
            reference=reference_for(run, parts.model) if run.config[PpoConfig].ppo_kl_coeff else None,
            rows=run.config[TrainerConfig].per_device_train_batch_size,
        )
        return PpoTrainer(run, parts, ppo)


class PpoTrainer(FtkTrainer):
    """Draws the prompts of a whole buffer at once, and again for each optimizer step that learns from it.

    An epoch is one pass over the prompts: as many steps as it has global batches, times ``ppo_epochs``.
    """

    def get_train_dataloader(self) -> DataLoader:
        rows = self._train_batch_size
        self._train_batch_size = rows * self.run.config[PpoConfig].ppo_buffer_size
        try:
            return super().get_train_dataloader()
        finally:
            self._train_batch_size = rows

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        rows = len(self.train_dataset if train_dataset is None else train_dataset)  # type: ignore[arg-type]
        config = self.run.config[PpoConfig]
        batch = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps
        size = batch * self.accelerator.num_processes * config.ppo_buffer_size
        if rows < size:
            message = f"{rows} prompts do not fill a buffer, which takes {size}"
            raise RunError(message, "lower ppo_buffer_size, per_device_train_batch_size or gradient_accumulation_steps")
        shuffle = self.args.train_sampling_strategy == "random"
        times = config.ppo_epochs * config.ppo_buffer_size
        return RepeatedBatches(rows, size, times, seed=self.run.seed if shuffle else None)
