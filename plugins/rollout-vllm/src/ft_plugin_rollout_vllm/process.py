"""Rollouts by vLLM in the training process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import count
from typing import Any

from peft import PeftModel
from torch import nn
from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest

from ft_plugin_hf.config import HfConfig
from ft_plugin_rollouts.sampling import Sampling
from ftk.markers import hookimpl
from ftk.problems import RunError
from ftk.run import Run

from .adapter import checked, folder_of, rank_of, saved
from .asking import arguments_of, held_to, questions_of
from .config import RolloutVllmConfig

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Those that vLLM makes room for."""


class InProcess:
    @hookimpl
    def ftk_rollout_engine(self, run: Run) -> VllmEngine:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            message = "rollouts_engine: vllm is for training in one process, and this run has several"
            raise RunError(message, "start a server, and set rollouts_engine: vllm-server")
        return VllmEngine(run)


class VllmEngine:
    """Loads the model once more when it is first asked, beside the one that is being trained."""

    def __init__(self, run: Run) -> None:
        self.run, self.folder = run, folder_of(run)
        self.llm: LLM | None = None
        self.numbers = count(1)

    def generate(
        self, model: nn.Module, prompts: Sequence[list[int]], sampling: Sampling, *, step: int, seed: int
    ) -> list[list[int]]:
        policy = checked(model)
        if self.llm is None:
            self.llm = LLM(**self._options(policy))
        questions, arguments = questions_of(prompts, seed), arguments_of(sampling)
        with saved(policy, self.folder, step=step) as (name, path):
            answers = self.llm.generate(
                [{"prompt_token_ids": question.prompt} for question in questions],
                sampling_params=[SamplingParams(n=q.n, seed=q.seed, **arguments) for q in questions],
                lora_request=LoRARequest(name, next(self.numbers), str(path)),
                use_tqdm=False,
            )
        made: list[list[int]] = []
        for question, answer in zip(questions, answers, strict=True):
            outputs = sorted(answer.outputs, key=lambda output: output.index)
            made += held_to(question, [output.token_ids for output in outputs], sampling.max_new_tokens)
        return made

    def _options(self, policy: PeftModel) -> dict[str, Any]:
        own, hf = self.run.config[RolloutVllmConfig], self.run.config[HfConfig]
        if hf.model_name_or_path is None:
            raise RunError("vLLM has no model to load", "set model_name_or_path")
        location, rank = self.run.locate_model(hf.model_name_or_path), rank_of(policy)
        return {
            "model": location.path,
            "revision": location.revision or (hf.model_revision if self.run.config.was_set("model_revision") else None),
            "trust_remote_code": hf.trust_remote_code,
            "enable_lora": True,
            "max_loras": 1,
            "max_lora_rank": next((known for known in RANKS if known >= rank), rank),
            "gpu_memory_utilization": own.rollout_vllm_gpu_util,
            "max_model_len": own.rollout_vllm_max_length,
            **(own.rollout_vllm_options or {}),
        }
