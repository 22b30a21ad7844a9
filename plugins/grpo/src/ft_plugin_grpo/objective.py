"""One step of a policy gradient: generate, score, compare, learn. Read ``begin_step`` first.

Shape suffixes: P prompts, G completions of each, B completions, T positions, N tokens of completions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from ft_plugin_reference_model.reference import Reference
from ft_plugin_rewards.scoring import Rewards
from ft_plugin_rollouts import log
from ft_plugin_rollouts.batches import drawn_logprobs, metric_sums
from ft_plugin_rollouts.prompts import Prompt, prompts_of, text_of
from ft_plugin_rollouts.rollouts import Rollouts, columns_of
from ft_plugin_trainer.forks import Forks
from ft_plugin_trainer.modes import evaluating
from ft_plugin_trainer.objective import Batch, Objective, Sums
from ft_plugin_trainer.processes import from_all_processes
from ft_plugin_trainer.targets import IGNORE, TargetLogprobs, next_tokens, sum_by_row, unwrapped
from ftk.problems import RunError

from .completions import Scored, batch_of
from .config import GrpoConfig
from .losses import PolicyLoss, k3, weights_of
from .specs import Advantage

if TYPE_CHECKING:
    from ftk.run import Run


class PolicyGradient(Objective):
    """Learns from rewards of what the model itself says.

    reference  what the policy stays near; needed where ``grpo_beta`` is not 0
    penalty    where the divergence from the reference counts: as a term of the loss, or off the reward
    rows       completions that a device trains on at once
    """

    def __init__(
        self,
        run: Run,
        *,
        rollouts: Rollouts,
        rewards: Rewards,
        loss: PolicyLoss,
        advantage: Advantage,
        reference: Reference | None,
        penalty: Literal["loss", "reward"],
        rows: int,
    ) -> None:
        self.run, self.config = run, run.config[GrpoConfig]
        self.rollouts, self.rewards, self.loss, self.advantage = rollouts, rewards, loss, advantage
        self.reference, self.penalty, self.rows = reference, penalty, rows
        self.low = self.config.grpo_epsilon
        self.high = self.low if self.config.grpo_epsilon_high is None else self.config.grpo_epsilon_high
        self.temperature = rollouts.sampling.temperature
        self.scores, self.forks = TargetLogprobs(), Forks()
        self._kept: list[Batch] = []

    def begin_step(self, model: nn.Module, batches: list[Batch]) -> list[Batch]:
        """Micro-batches of scored completions; those of the step before while it has iterations left."""
        if model.training and self.step % self.config.grpo_num_iterations:
            if not self._kept:
                raise RunError("the checkpoint holds no completions to go on with", "resume from another checkpoint")
            return self._kept
        rows = self._scored(model, [prompt for batch in batches for prompt in prompts_of(batch)])
        self._compare(model, rows)
        if model.training:
            log.write(self.run, self.step, map(entry, rows))
        made = list(self._batches(model, rows))
        for batch in made:
            if self.config.grpo_num_iterations > 1:
                batch["old"] = self._logprobs(unwrapped(model), batch)
            if self.penalty == "loss" and self.reference is not None:
                with self.reference.active(model) as reference:
                    batch["reference"] = self._logprobs(reference, batch)
        if model.training and self.config.grpo_num_iterations > 1:
            self._kept = made
        return made

    def count(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        if self.loss.per == "token":
            return (batch["labels"] != IGNORE).sum()
        if self.loss.per == "sequence":
            return batch["learnt"].sum()
        return torch.tensor(len(batch["learnt"]), device=batch["learnt"].device)

    def sums(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> Sums:
        mask_BT = next_tokens(batch["labels"]) != IGNORE
        row_N = mask_BT.nonzero()[:, 0]
        new_N = drawn_logprobs(self.scores, model, batch, temperature=self.temperature, forks=self.forks)
        old_N = batch["old"][mask_BT].to(new_N.dtype) if "old" in batch else new_N.detach()
        advantages_N = batch["advantages"][row_N].to(new_N.dtype)
        loss_N, clipped_N = self.loss.surrogate(new_N, old_N, advantages_N, row_N, low=self.low, high=self.high)
        tokens = mask_BT.sum()
        sums: Sums = {}
        if "reference" in batch:
            kl_N = k3(new_N, batch["reference"][mask_BT].to(new_N.dtype))
            if self.config.grpo_unbiased_kl:
                kl_N = kl_N * torch.exp(new_N - old_N)  # arXiv:2512.02556
            loss_N = loss_N + self.config.grpo_beta * kl_N
            sums["kl"] = (kl_N.detach().sum(), tokens)
        longest = self.rollouts.sampling.max_new_tokens
        weights_N = weights_of(self.loss.per, row_N, longest=longest, dtype=new_N.dtype)
        sums["loss"] = ((loss_N * weights_N).sum(), self.count(batch))
        sums["entropy"] = (-new_N.detach().sum(), tokens)  # of what was drawn: on average that of the policy
        sums["clipped"] = (clipped_N.sum(), tokens)
        return sums | metric_sums(batch)

    def state(self) -> dict[str, torch.Tensor]:
        return {f"{i:04}.{name}": value for i, batch in enumerate(self._kept) for name, value in batch.items()}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        kept: dict[str, Batch] = {}
        for key, value in state.items():
            number, _, name = key.partition(".")
            kept.setdefault(number, {})[name] = value
        self._kept = [kept[number] for number in sorted(kept)]

    def _scored(self, model: nn.Module, prompts: Sequence[Prompt]) -> list[Scored]:
        n = self.config.grpo_num_generate_samples
        groups = self.rollouts.generate(model, [p.ids for p in prompts], n=n, step=self.step)
        asked = [prompt for prompt in prompts for _ in range(n)]
        said = [completion for group in groups for completion in group]
        scores = self.rewards.score(
            [prompt.messages for prompt in asked], [c.text for c in said], columns_of(asked, said)
        )
        parts = [{name: values[i] for name, values in scores.parts.items()} for i in range(len(said))]
        rows = [Scored(*row) for row in zip(asked, said, scores.totals, parts, strict=True)]
        failed = sum(scores.failures.values()) / max(len(rows) * len(scores.parts), 1)
        for row in rows:
            row.metrics["reward_failed"] = failed
            if len(row.parts) > 1:
                row.metrics |= {f"reward/{name}": math.nan if v is None else v for name, v in row.parts.items()}
        return rows

    def _compare(self, model: nn.Module, rows: list[Scored]) -> None:
        """Fill in advantages and metrics."""
        n = self.config.grpo_num_generate_samples
        rewards = [row.reward for row in rows]
        if self.penalty == "reward" and self.reference is not None:
            divergences = self._divergences(model, rows)
            rewards = [r - self.config.grpo_beta * d for r, d in zip(rewards, divergences, strict=True)]
            for row, divergence in zip(rows, divergences, strict=True):
                row.metrics["kl"] = divergence / max(len(row.completion.ids), 1)
        before, everything = from_all_processes(rewards)
        rewards_PG = torch.tensor(everything, dtype=torch.float64).view(-1, n)
        advantages = self.advantage(rewards_PG).flatten()[before : before + len(rows)].tolist()
        spread_P = [max(group) - min(group) for group in rewards_PG.tolist()]
        deviations = rewards_PG.std(-1, correction=min(1, n - 1)).tolist()
        for i, (row, advantage) in enumerate(zip(rows, advantages, strict=True)):
            row.advantage = 0.0 if math.isnan(advantage) else advantage
            cut = self.config.grpo_mask_truncated and not row.completion.finished
            row.learnt = not math.isnan(advantage) and not cut and bool(row.completion.ids)
            group = (before + i) // n
            row.metrics |= {"reward": row.reward, "reward_std": deviations[group]}
            row.metrics["reward_equal"] = float(spread_P[group] == 0)
            row.metrics["completion_length"] = float(len(row.completion.ids))
            row.metrics["truncated"] = float(not row.completion.finished)
        _, learnt = from_all_processes([row.learnt for row in rows])
        if not any(learnt):  # a step without anything to learn has a loss of 0, not of 0/0
            rows[0].learnt, rows[0].advantage = True, 0.0

    def _batches(self, model: nn.Module, rows: Sequence[Scored]) -> Iterator[Batch]:
        """The longest prompts first, and completions of one together: it is computed once for those in a batch."""
        device = unwrapped(model).get_input_embeddings().weight.device
        rows = sorted(rows, key=lambda row: (len(row.prompt.ids), row.prompt.ids, len(row.ids)), reverse=True)
        for at in range(0, len(rows), self.rows):
            yield batch_of(rows[at : at + self.rows], self.rollouts.tokenizer.pad_token_id, device)

    def _divergences(self, model: nn.Module, rows: list[Scored]) -> list[float]:
        """The log of each completion's probability by the policy, less that by the reference."""
        assert self.reference is not None
        by_row: dict[int, float] = {}
        device = unwrapped(model).get_input_embeddings().weight.device
        for at in range(0, len(rows), self.rows):
            batch = batch_of(rows[at : at + self.rows], self.rollouts.tokenizer.pad_token_id, device)
            mask_BT = next_tokens(batch["labels"]) != IGNORE
            policy_BT = self._logprobs(unwrapped(model), batch)
            with self.reference.active(model) as reference:
                difference_BT = policy_BT - self._logprobs(reference, batch)
            sums_B = sum_by_row(difference_BT[mask_BT], mask_BT).tolist()
            by_row |= {at + i: value for i, value in enumerate(sums_B)}
        return [by_row[i] for i in range(len(rows))]

    def _logprobs(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Of the tokens of completions as (B, T), at the positions that predict them; 0 elsewhere. No gradient."""
        mask_BT = next_tokens(batch["labels"]) != IGNORE
        with torch.no_grad(), evaluating(model):
            values_N = drawn_logprobs(self.scores, model, batch, temperature=self.temperature, forks=self.forks)
        out_BT = torch.zeros(mask_BT.shape, dtype=values_N.dtype, device=values_N.device)
        out_BT[mask_BT] = values_N
        return out_BT


def entry(row: Scored) -> dict[str, Any]:
    """A line of ``rollouts.jsonl``."""
    return {
        "prompt": text_of(row.prompt.messages[-1]),
        "completion": row.completion.text,
        "finished": row.completion.finished,
        "reward": None if math.isnan(row.reward) else row.reward,
        "rewards": row.parts,
        "advantage": row.advantage,
    }
