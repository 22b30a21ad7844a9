"""What passes between hooks: plain types, so that plugins agree without importing each other.

Nothing here imports torch; where a type of an ML library is meant, the docstring names it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

# Plugins import these from here, beside the other contracts.
from .answers import AnswerReader as AnswerReader
from .answers import Delta as Delta
from .answers import ParsedAnswer as ParsedAnswer
from .answers import ToolCall as ToolCall
from .answers import ToolParser as ToolParser
from .rows import DatasetSpec as DatasetSpec
from .rows import Example as Example
from .rows import Formatter as Formatter
from .rows import Message as Message

if TYPE_CHECKING:
    import datasets
    import torch
    import transformers

    from .problems import RowError

Role = Literal["policy", "reference", "reward", "value", "teacher"]
"""What a model is loaded for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLocation:
    """Where a model's files are: what ``from_pretrained`` is given."""

    path: str
    """A folder or a hub id."""
    gguf_file: str | None = None
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """A rendered conversation. Both lists have one entry for each token."""

    input_ids: list[int]
    weights: list[float]
    """Loss weight of the token: 0 where it carries none."""


class Template(Protocol):
    """One definition of a prompt format, for training, chat, serving and the exported tokenizer."""

    name: str
    stop: Sequence[str]
    """Strings that end a generated turn."""

    @property
    def fingerprint(self) -> str:
        """Changes when ``encode`` would give something else."""
        ...

    @property
    def jinja(self) -> str:
        """The chat template as Jinja, to be saved with a tokenizer."""
        ...

    def render(
        self, messages: Sequence[Message], *, tools: Sequence[Mapping] = (), generation_prompt: bool = False
    ) -> str: ...

    def encode(
        self,
        conversations: Sequence[tuple[Sequence[Message], Sequence[Mapping]]],
        *,
        train_on: Literal["assistant", "last", "all"] = "assistant",
    ) -> list[Tokens | RowError]:
        """Token ids and loss weights of whole conversations, (messages, tools) each; an error for one without any.

        train_on  every answer, the last answer only, or every token, prompts too
        """
        ...

    def encode_prompt(self, messages: Sequence[Message], *, tools: Sequence[Mapping] = ()) -> list[int]:
        """Token ids up to where the assistant's next answer begins."""
        ...


@dataclass(frozen=True, slots=True)
class Encoded:
    """What an encoder makes of an example."""

    columns: Mapping[str, Any]
    """What the collator reads: ``input_ids``, ``labels``, ... as plain lists."""
    truncated: int = 0
    """How many tokens were cut off."""
    where: str = ""
    """What was cut off: "the end of turn 4"."""


class Encoder(Protocol):
    """How a stage sees data. Picklable. One that takes images, videos or audios says ``reads_media = True``."""

    fingerprint: str
    """Changes when the encoding would."""

    def encode(self, examples: Sequence[Example]) -> list[list[Encoded] | RowError]:
        """For each example, in order: its sequences (several where a text is split), or why it has none."""
        ...

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """A micro-batch of the trainer."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """All that a stage needs to build its trainer."""

    model: transformers.PreTrainedModel
    tokenizer: transformers.PreTrainedTokenizerBase
    template: Template
    encoder: Encoder
    train_dataset: datasets.Dataset | datasets.IterableDataset | None
    eval_dataset: datasets.Dataset | Mapping[str, datasets.Dataset] | None
    args: Mapping[str, Any]
    """Merged results of ``ftk_training_args``."""
    callbacks: Sequence[Any]


class Trainer(Protocol):
    """What a stage builds. ``transformers.Trainer`` fits."""

    model: Any

    def train(self) -> Any:
        """Train, save the result to the output folder, and return an object with ``metrics: dict[str, float]``."""
        ...

    def evaluate(self) -> dict[str, float]: ...


class Engine(Protocol):
    """An inference back end."""

    def stream(self, messages: Sequence[Message], *, tools: Sequence[Mapping] = (), **generation: Any) -> Iterator[str]:
        """Pieces of the assistant's next answer. Keywords override the config's generation keys for this call."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """Something that a run or an export wrote."""

    kind: str
    path: Path
    summary: str
    """One line: what it is and how it was checked."""


@dataclass(slots=True, kw_only=True)
class Result:
    """How a run ended."""

    output_dir: Path
    metrics: dict[str, float] = field(default_factory=dict)
    artifacts: list[Artifact] = field(default_factory=list)
