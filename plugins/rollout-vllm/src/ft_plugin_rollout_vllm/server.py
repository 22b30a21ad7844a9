"""Rollouts by a server of vLLM, for each of which it loads the adapter and forgets it again."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Any

from torch import nn

from ft_plugin_hf.config import HfConfig
from ft_plugin_rollouts.sampling import Sampling
from ftk.markers import hookimpl
from ftk.problems import RunError
from ftk.run import Run

from .adapter import checked, folder_of, rank_of, saved
from .asking import Question, arguments_of, held_to, questions_of
from .config import RolloutVllmConfig

TRANSIENT = (408, 425, 429, 502, 503, 504)
"""Statuses after which the same request may succeed."""


class OnServer:
    @hookimpl
    def ftk_rollout_engine(self, run: Run) -> ServerEngine:
        return ServerEngine(run)


class Refused(Exception):
    """The server answers with an error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"answers {status}: {text}")
        self.status, self.text = status, text


class ServerEngine:
    def __init__(self, run: Run) -> None:
        own = run.config[RolloutVllmConfig]
        self.run, self.folder = run, folder_of(run)
        self.url = str(own.rollout_vllm_url).rstrip("/").removesuffix("/v1")
        self.timeout, self.retries = own.rollout_vllm_timeout, own.rollout_vllm_retries
        self.at_once = own.rollout_vllm_concurrency
        self.command = ""

    def generate(
        self, model: nn.Module, prompts: Sequence[list[int]], sampling: Sampling, *, step: int, seed: int
    ) -> list[list[int]]:
        policy = checked(model)
        name = self.run.config[HfConfig].model_name_or_path or "MODEL"
        command = f"vllm serve {name} --enable-lora --max-lora-rank {rank_of(policy)}"
        self.command = f"VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 {command}"
        arguments = arguments_of(sampling)
        with (
            saved(policy, self.folder, step=step) as (adapter, path),
            self._loaded(adapter, str(path)),
            ThreadPoolExecutor(self.at_once) as pool,
        ):
            groups = pool.map(lambda q: self._completions(q, adapter, arguments), questions_of(prompts, seed))
            return [ids for group in groups for ids in group]

    @contextlib.contextmanager
    def _loaded(self, name: str, path: str) -> Iterator[None]:
        try:
            self._post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": path})
        except Refused as e:
            # Ours, since no other has its name: the answer to an earlier try was lost.
            if "already been loaded" not in e.text:
                raise self._explained(e) from e
        try:
            yield
        finally:
            try:
                self._post("/v1/unload_lora_adapter", {"lora_name": name})
            except (Refused, RunError) as e:
                self.run.logger.warning("the vLLM server %s keeps the adapter %s: %s", self.url, name, e)

    def _explained(self, error: Refused) -> RunError:
        if error.status in (404, 405) and "detail" in error.text:  # no such route, rather than no such adapter
            return RunError(f"the vLLM server {self.url} takes no adapters while it runs", f"start it: {self.command}")
        if error.status == 404:
            hint = "set rollout_vllm_adapter_dir to a folder that the server sees under the same path"
            return RunError(f"the vLLM server {self.url} does not find the adapter: {error.text}", hint)
        return RunError(f"the vLLM server {self.url} refuses the adapter: {error}", f"start it: {self.command}")

    def _completions(self, question: Question, adapter: str, arguments: dict[str, Any]) -> list[list[int]]:
        asked = {"model": adapter, "prompt": question.prompt, "n": question.n, "seed": question.seed}
        try:
            answer = self._post("/v1/completions", asked | arguments | {"return_token_ids": True})
        except Refused as e:
            hint = "lower cutoff_len or max_new_tokens if it is about the length"
            raise RunError(f"the vLLM server {self.url} {e}", hint) from e
        choices = answer.get("choices") if isinstance(answer, dict) else None
        if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
            raise RunError(f"the vLLM server {self.url} gives no completions: {shortened(answer)}", "correct its url")
        choices = sorted(choices, key=lambda choice: choice.get("index", 0))
        made = [choice.get("token_ids") for choice in choices]
        if not all(isinstance(ids, list) for ids in made):
            message = f"the vLLM server {self.url} gives no token ids of completions"
            raise RunError(message, "upgrade it to vLLM 0.10.2 or later, which knows return_token_ids")
        return held_to(question, made, arguments["max_tokens"])

    def _post(self, path: str, question: dict[str, Any]) -> Any:
        """What is answered. Raises Refused, or RunError when nothing that can be read is."""
        body = json.dumps(question).encode()
        for attempt in range(self.retries + 1):
            if attempt:
                time.sleep(2 ** (attempt - 1))
            request = urllib.request.Request(self.url + path, body, {"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as response:
                    raw = response.read()
                return json.loads(raw) if path == "/v1/completions" else None
            except urllib.error.HTTPError as e:
                refused = Refused(e.code, shortened(e.read().decode(errors="replace")))
                if e.code not in TRANSIENT or attempt == self.retries:
                    raise refused from e
            except (OSError, HTTPException) as e:
                reason = getattr(e, "reason", None) or e
            except ValueError as e:
                raise RunError(f"the vLLM server {self.url} gives no JSON: {e}", "correct rollout_vllm_url") from e
        hint = f"correct rollout_vllm_url, or start it: {self.command}"
        raise RunError(f"the vLLM server {self.url} does not answer: {reason}", hint)


def shortened(answer: Any) -> str:
    text = " ".join(str(answer).split())
    return text if len(text) <= 300 else f"{text[:300]}..."
