"""Rules about the values of the keys of policy gradients. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ft_plugin_data.config import DataConfig
from ft_plugin_generate.config import GenerateConfig
from ftk.problems import Problem

from .config import GrpoConfig

if TYPE_CHECKING:
    from ftk.compose import Config
    from ftk.plan import Plan


def problems_of(plan: Plan) -> list[Problem]:
    if plan.action != "train":
        return []
    return [*_numbers(plan.config[GrpoConfig]), *_sampling(plan.config), *_data(plan.config)]


def _numbers(own: GrpoConfig) -> Iterator[Problem]:
    high = own.grpo_epsilon_high
    rules = [
        ("grpo_beta", own.grpo_beta < 0, "is negative"),
        ("grpo_epsilon", not 0 <= own.grpo_epsilon <= 1, "is not between 0 and 1"),
        ("grpo_epsilon_high", high is not None and high < 0, "is negative"),
        ("grpo_num_iterations", own.grpo_num_iterations < 1, "must be at least 1"),
        (
            "grpo_micro_batch_size",
            own.grpo_micro_batch_size is not None and own.grpo_micro_batch_size < 1,
            "is not positive",
        ),
    ]
    for key, bad, message in rules:
        if bad:
            yield Problem("error", f"{key}={getattr(own, key)!r} {message}", "", key)
    n, key = own.grpo_num_generate_samples, "grpo_num_generate_samples"
    if n < 2:
        yield Problem("error", f"{key}={n} leaves nothing to compare a completion with", "8 is a usual value", key)


def _sampling(config: Config) -> Iterator[Problem]:
    sampling = config[GenerateConfig]
    if not sampling.do_sample:
        message = "do_sample: false makes all completions of a prompt the same, and equal rewards teach nothing"
        yield Problem("error", message, "unset it", "do_sample")
    narrow = {
        "top_p": sampling.top_p < 1,
        "top_k": sampling.top_k > 0,
        "repetition_penalty": sampling.repetition_penalty != 1,
    }
    for key, narrows in narrow.items():
        if narrows and config.was_set(key):
            message = f"{key}={getattr(sampling, key)} draws from other probabilities than those that are trained"
            yield Problem("warning", message, "unset it to draw from all tokens", key)


def _data(config: Config) -> Iterator[Problem]:
    if config[GrpoConfig].grpo_num_iterations > 1 and config[DataConfig].streaming:
        message = "grpo_num_iterations needs rows that can be drawn again, which streaming does not give"
        yield Problem("error", message, "unset one of the two", "grpo_num_iterations")
