"""Proximal policy optimisation. Read ``begin_step`` first.

Shape suffixes: B answers, T tokens of the longest one, N tokens of all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ft_plugin_reference_model.reference import Reference
from ft_plugin_rewards.scoring import Rewards
from ft_plugin_rm.value_head import NAME, ValueHead, values_at
from ft_plugin_rollouts import log
from ft_plugin_rollouts.batches import drawn_logprobs, metric_sums
from ft_plugin_rollouts.prompts import Prompt, prompts_of, text_of
from ft_plugin_rollouts.rollouts import Completion, Rollouts, columns_of, seed_of
from ft_plugin_trainer.modes import evaluating
from ft_plugin_trainer.objective import Batch, Objective, Sums
from ft_plugin_trainer.processes import from_all_processes
from ft_plugin_trainer.targets import IGNORE, TargetLogprobs, next_tokens, unwrapped
from ftk.problems import RunError

from .config import PpoConfig
from .experience import Answer, batch_of, packed, padded, unpacked
from .formulas import (
    adapted_coefficient,
    advantages,
    mean_and_variance,
    moments,
    policy_loss,
    token_rewards,
    value_loss,
    whitened,
)

if TYPE_CHECKING:
    from ftk.run import Run


class Ppo(Objective):
    """Learns from rewards of what the model itself says, several times from each answer.

    Batches that are drawn hold the prompts of a whole buffer, and are drawn again for each step that learns from it.

    reference  what the policy stays near; needed where ``ppo_kl_coeff`` is not 0
    rows       answers that a device trains on at once
    """

    def __init__(
        self,
        run: Run,
        *,
        head: ValueHead,
        rollouts: Rollouts,
        rewards: Rewards,
        reference: Reference | None,
        rows: int,
    ) -> None:
        self.run, self.config, self.head = run, run.config[PpoConfig], head
        self.rollouts, self.rewards, self.reference, self.rows = rollouts, rewards, reference, rows
        self.temperature = rollouts.sampling.temperature
        self.scores = TargetLogprobs()
        self.buffer: list[Answer] = []
        self.kl_coeff = self.config.ppo_kl_coeff
        self.seen = torch.zeros(3, dtype=torch.float64)
        """``moments`` of all scores so far."""

    def modules(self) -> dict[str, nn.Module]:
        return {NAME: self.head}

    def begin_step(self, model: nn.Module, batches: list[Batch]) -> list[Batch]:
        """At the first step of a buffer, fill it; then the answers of it whose turn it is, in micro-batches."""
        prompts = [prompt for batch in batches for prompt in prompts_of(batch)]
        if not model.training:
            return list(self._batches(model, self._judged(model, prompts)))
        parts = self.config.ppo_buffer_size
        step = self.step % (self.config.ppo_epochs * parts)
        if step == 0:
            self.buffer = self._experience(model, prompts)
        elif not self.buffer:
            raise RunError("the checkpoint holds no answers to go on with", "resume from another checkpoint")
        part = step % parts
        seed = seed_of(self.run.seed, "order", self.step - part)
        order = torch.randperm(len(self.buffer), generator=torch.Generator().manual_seed(seed)).tolist()
        size = len(order) // parts
        return list(self._batches(model, [self.buffer[i] for i in order[part * size : (part + 1) * size]]))

    def count(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return (batch["labels"] != IGNORE).sum()

    def sums(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> Sums:
        sums: Sums = self._learnt(model, batch) if model.training else {}
        sums |= metric_sums(batch)
        if not model.training:
            reward, n = sums["reward"]
            sums["loss"] = (-reward, n)
        return sums

    def _learnt(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> Sums:
        own, mask_BT = self.config, next_tokens(batch["labels"]) != IGNORE
        logp_N, value_N = self._measured(model, batch)
        old_N, old_value_N, advantage_N, return_N = (
            batch[name][mask_BT].to(logp_N.dtype) for name in ("old", "value", "advantage", "return")
        )
        policy_N = policy_loss(logp_N, old_N, advantage_N, clip=own.ppo_clip_ratio)
        error_N = value_loss(value_N, old_value_N, return_N, clip=own.ppo_clip_value)
        moved_N = logp_N.detach() - old_N
        parts = {
            "loss": policy_N + own.ppo_value_coeff * error_N,
            "policy_loss": policy_N.detach(),
            "value_loss": error_N.detach(),
            "approx_kl": moved_N.square() / 2,
            "clipped": (moved_N.exp() - 1).abs() > own.ppo_clip_ratio,
            "value_clipped": (value_N.detach() - old_value_N).abs() > own.ppo_clip_value,
        }
        return {name: (values_N.sum(), self.count(batch)) for name, values_N in parts.items()}

    def state(self) -> dict[str, torch.Tensor]:
        state = {"kl_coeff": torch.tensor(self.kl_coeff, dtype=torch.float64), "scores": self.seen}
        return state | packed(self.buffer)

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        self.kl_coeff, self.seen = state["kl_coeff"].item(), state["scores"]
        self.buffer = unpacked(state)

    # Making experience.

    def _experience(self, model: nn.Module, prompts: Sequence[Prompt]) -> list[Answer]:
        """Answers with what each of their tokens is worth."""
        answers, own = self._judged(model, prompts), self.config
        mask_BT = padded(answers, "old").new_zeros(len(answers), max(map(len, answers)))
        for i, answer in enumerate(answers):
            mask_BT[i, : len(answer)] = 1
        score_B = self._scores(answers).to(mask_BT.dtype)
        old_BT, value_BT = padded(answers, "old"), padded(answers, "value")
        reward_BT = token_rewards(score_B, old_BT, padded(answers, "reference"), mask_BT, kl_coeff=self.kl_coeff)
        if own.ppo_whiten_rewards:
            reward_BT = whitened(reward_BT, mask_BT, over_processes(moments(reward_BT, mask_BT)), shift=False)
        advantage_BT = advantages(reward_BT, value_BT, mask_BT, gamma=own.ppo_gamma, lam=own.ppo_lam)
        return_BT = advantage_BT + value_BT
        advantage_BT = whitened(advantage_BT, mask_BT, over_processes(moments(advantage_BT, mask_BT)))
        errors, spread = (over_processes(moments(x_BT, mask_BT)) for x_BT in (return_BT - value_BT, return_BT))
        # NaN where all returns are equal: there is nothing to explain.
        explained = 1 - (mean_and_variance(errors)[2] / mean_and_variance(spread)[2]).item()
        explained = explained if math.isfinite(explained) else math.nan
        for i, answer in enumerate(answers):
            del answer.tokens["reference"]
            answer.tokens["advantage"] = advantage_BT[i, : len(answer)].clone()
            answer.tokens["return"] = return_BT[i, : len(answer)].clone()
            answer.metrics |= {"kl_coeff": self.kl_coeff, "explained_variance": explained}
        if own.ppo_target is not None and self.reference is not None:
            _, divergences = from_all_processes([answer.metrics["kl"] for answer in answers])
            kl, n = math.fsum(divergences) / len(divergences), len(divergences)
            self.kl_coeff = adapted_coefficient(
                self.kl_coeff, kl, target=own.ppo_target, answers=n, horizon=own.ppo_kl_horizon
            )
        return answers

    def _scores(self, answers: Sequence[Answer]) -> torch.Tensor:
        """What the answers are worth as wholes (B); one without a score, the mean of the others."""
        score_B = torch.tensor([answer.metrics["reward"] for answer in answers], dtype=torch.float64)
        total = over_processes(moments(score_B, ~score_B.isnan()))
        if not total[0]:
            raise RunError("no answer of this step has been given a score", "look at the warnings about rewards above")
        score_B = torch.where(score_B.isnan(), mean_and_variance(total)[1], score_B)
        if self.config.ppo_score_norm:
            self.seen = self.seen + total
            _, mean, variance = mean_and_variance(self.seen)
            score_B = (score_B - mean) * torch.rsqrt(variance + 1e-8)
        cut_B = torch.tensor([answer.metrics["truncated"] for answer in answers], dtype=torch.float64)
        return score_B - self.config.ppo_missing_eos_penalty * cut_B

    def _judged(self, model: nn.Module, prompts: Sequence[Prompt]) -> list[Answer]:
        """New answers, scored and measured by policy and reference."""
        groups = self.rollouts.generate(model, [prompt.ids for prompt in prompts], step=self.step)
        said = [completion for (completion,) in groups]
        scores = self.rewards.score([p.messages for p in prompts], [c.text for c in said], columns_of(prompts, said))
        answers = []
        for i, (prompt, completion) in enumerate(zip(prompts, said, strict=True)):
            answer = Answer(prompt.ids + completion.ids, len(prompt.ids))
            answer.metrics = {
                "reward": scores.totals[i],
                "reward_failed": float(math.isnan(scores.totals[i])),
                "completion_length": float(len(completion.ids)),
                "truncated": float(not completion.finished),
            }
            if len(scores.parts) > 1:
                parts = {name: values[i] for name, values in scores.parts.items()}
                answer.metrics |= {f"reward/{name}": math.nan if v is None else v for name, v in parts.items()}
            answers.append(answer)
        self._measure(model, answers)
        if model.training:
            log.write(self.run, self.step, map(entry, prompts, said, answers))
        return answers

    @torch.no_grad()
    def _measure(self, model: nn.Module, answers: Sequence[Answer]) -> None:
        """Fill in log-probabilities by policy and reference, and values."""
        policy = unwrapped(model)
        by_length = sorted(answers, key=lambda answer: len(answer.ids), reverse=True)
        for at in range(0, len(answers), self.rows):
            part = by_length[at : at + self.rows]
            batch = batch_of(part, self.rollouts.tokenizer.pad_token_id, device_of(policy))
            with evaluating(policy):
                old_N, value_N = self._measured(policy, batch)
            reference_N = old_N
            if self.reference is not None:
                with self.reference.active(model) as reference:
                    reference_N = self._logprobs(reference, batch)
            sizes = [len(answer) for answer in part]
            columns = {"old": old_N, "value": value_N, "reference": reference_N}
            for name, values_N in columns.items():
                for answer, values_n in zip(part, values_N.cpu().split(sizes), strict=True):
                    answer.tokens[name] = values_n.clone()
            for answer in part:
                kl = (answer.tokens["old"] - answer.tokens["reference"]).sum().item()
                answer.metrics |= {
                    "kl": kl,
                    "rlhf_reward": answer.metrics["reward"] - self.kl_coeff * kl,
                    "entropy": -answer.tokens["old"].mean().item(),  # of what was drawn: on average the policy's
                }

    def _measured(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities of the answers' tokens, and values of the positions that predict them, N each."""
        with values_at(model, self.head, next_tokens(batch["labels"]) != IGNORE) as values:
            logp_N = self._logprobs(model, batch)
        return logp_N, values[-1].to(logp_N.dtype)

    def _logprobs(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return drawn_logprobs(self.scores, model, batch, temperature=self.temperature)

    def _batches(self, model: nn.Module, answers: Sequence[Answer]) -> Iterator[Batch]:
        """The longest answers first, together with others of their length."""
        answers = sorted(answers, key=lambda answer: len(answer.ids), reverse=True)
        for at in range(0, len(answers), self.rows):
            part = answers[at : at + self.rows]
            yield batch_of(part, self.rollouts.tokenizer.pad_token_id, device_of(unwrapped(model)))


def device_of(model: Any) -> torch.device:
    return model.get_input_embeddings().weight.device


def over_processes(total: torch.Tensor) -> torch.Tensor:
    """The sum of ``moments`` of all processes."""
    _, parts = from_all_processes([total.tolist()])
    return torch.tensor(parts, dtype=torch.float64).sum(0)


def entry(prompt: Prompt, completion: Completion, answer: Answer) -> dict[str, Any]:
    """A line of ``rollouts.jsonl``."""
    return {
        "prompt": text_of(prompt.messages[-1]),
        "completion": completion.text,
        "finished": completion.finished,
        "reward": None if math.isnan(answer.metrics["reward"]) else answer.metrics["reward"],
        "kl": answer.metrics["kl"],
    }
