"""What vLLM is asked, in the words that its server and its library share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ft_plugin_rollouts.rollouts import seed_of
from ft_plugin_rollouts.sampling import Sampling
from ftk.problems import RunError


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt and how many completions it shall have."""

    prompt: list[int]
    n: int
    seed: int


def questions_of(prompts: Sequence[list[int]], seed: int) -> list[Question]:
    """Neighbours that are equal are one question.

    Each has a seed of its own: vLLM counts it up for the completions of one prompt, and prompts with the same seed
    would have the same random numbers.
    """
    groups = [(prompt, len(list(same))) for prompt, same in groupby(prompts)]
    return [Question(prompt, n, seed_of(seed, i) >> 1) for i, (prompt, n) in enumerate(groups)]


def arguments_of(sampling: Sampling) -> dict[str, Any]:
    """All that decides what is drawn: a server takes what is not said from the model's author."""
    drawn = sampling.do_sample
    return {
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature if drawn else 0.0,
        "top_p": sampling.top_p if drawn else 1.0,
        "top_k": (sampling.top_k or -1) if drawn else -1,
        "min_p": 0.0,
        "repetition_penalty": sampling.repetition_penalty,
        "stop_token_ids": list(sampling.stop_ids),
        "stop": list(sampling.stop_strings),
        "skip_special_tokens": False,  # or vLLM would not see stops that hold control tokens
    }


def held_to(question: Question, made: Sequence[Sequence[int]], longest: int) -> list[list[int]]:
    """The completions. Raises RunError when they are not as many, or longer than asked for."""
    if len(made) != question.n:
        raise RunError(f"vLLM was asked for {question.n} completions of a prompt and gave {len(made)}")
    if (found := max(map(len, made))) > longest:
        raise RunError(f"vLLM was asked for {longest} tokens and gave {found}")
    return [list(ids) for ids in made]
