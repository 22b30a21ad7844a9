"""Scores of conversations by a server, in LLaMA-Factory's protocol.

The request is ``POST {"model": "model", "messages": [text, ...]}``, each text a whole conversation as the template
renders it; the response ``{"scores": [number, ...]}``.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from ftk.contracts import Message, Template

if TYPE_CHECKING:
    from .config import RewardConfig

TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
"""Statuses after which the same request may succeed."""


class ServerError(RuntimeError):
    """The server cannot be had, or its response is no list of scores."""


class ServerScores:
    """A reward that asks a server."""

    def __init__(self, address: str, template: Template, config: RewardConfig) -> None:
        self.address, self.template = address, template
        self.batch, self.timeout = config.reward_batch_size, config.reward_api_timeout
        self.retries = config.reward_api_retries

    def __call__(
        self, *, prompts: Sequence[Sequence[Message]], completions: Sequence[str], **columns: Any
    ) -> list[float]:
        """Raises ServerError."""
        pairs = zip(prompts, completions, strict=True)
        texts = [self.template.render([*prompt, Message(role="assistant", content=text)]) for prompt, text in pairs]
        scores: list[float] = []
        for start in range(0, len(texts), self.batch):
            part = texts[start : start + self.batch]
            answer = self._ask({"model": "model", "messages": part})
            given = answer.get("scores") if isinstance(answer, dict) else None
            if not isinstance(given, list) or len(given) != len(part):
                raise ServerError(f"{self.address} was asked for {len(part)} scores and gave {shortened(answer)}")
            scores += given
        return scores

    def _ask(self, question: dict[str, Any]) -> Any:
        body = json.dumps(question).encode()
        for attempt in range(self.retries + 1):
            if attempt:
                time.sleep(2 ** (attempt - 1))
            request = urllib.request.Request(self.address, body, {"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as response:
                    return json.loads(response.read())
            except urllib.error.HTTPError as e:
                reason = f"answers {e.code}: {shortened(e.read().decode(errors='replace'))}"
                if e.code not in TRANSIENT:
                    break
            except (OSError, HTTPException) as e:
                reason = f"does not answer: {getattr(e, 'reason', None) or e}"
            except ValueError as e:
                raise ServerError(f"the reward server {self.address} gives no JSON: {e}") from e
        raise ServerError(f"the reward server {self.address} {reason}")


def shortened(answer: Any) -> str:
    text = str(answer)
    return text if len(text) <= 200 else f"{text[:200]}..."
