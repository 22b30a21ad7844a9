"""A linear layer on final hidden states: the score of a text, or the value of each of its tokens.

Shape suffixes: B rows, T positions, H hidden size.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors.torch import load_file
from torch import nn
from transformers.utils import cached_file

from ft_plugin_hf.config import HfConfig
from ft_plugin_peft.config import AdapterConfig
from ft_plugin_trainer.targets import unwrapped
from ftk.problems import RunError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ftk.run import Run

NAME = "value_head"
FILE = f"{NAME}.safetensors"
PICKLED = f"{NAME}.bin"
"""What TRL and LLaMA-Factory wrote once."""


class ValueHead(nn.Module):
    """Hidden states (..., H) -> values (...), in float32 or better whatever the model computes in.

    Its state dict has the names of TRL's value head, which LLaMA-Factory writes too.
    """

    def __init__(self, hidden_size: int, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.v_head = nn.ModuleDict({"summary": nn.Linear(hidden_size, 1, dtype=dtype)})
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    @property
    def linear(self) -> nn.Linear:
        return cast(nn.Linear, self.v_head["summary"])

    def forward(self, hidden_BTH: torch.Tensor) -> torch.Tensor:
        with torch.autocast(hidden_BTH.device.type, enabled=False):
            return self.linear(hidden_BTH.to(self.linear.weight.dtype)).squeeze(-1)


def head_for(model: PreTrainedModel) -> ValueHead:
    """A value head of the model's size and device that gives 0 everywhere."""
    output = unwrapped(model).get_output_embeddings()
    size = getattr(output, "in_features", None) or model.config.get_text_config().hidden_size
    return ValueHead(size, dtype=torch.promote_types(model.dtype, torch.float32)).to(model.device)


def draw(head: ValueHead, seed: int) -> None:
    """Random weights of variance 1 / (H + 1), as of the reward models of arXiv:2009.01325, and no bias."""
    generator = torch.Generator().manual_seed(seed)
    weight = head.linear.weight
    drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float64) / (weight.shape[1] + 1) ** 0.5
    weight.data.copy_(drawn)


def file_in(run: Run, name: str) -> Path | None:
    """Where the folder or hub repository ``name`` has a value head, if it has one."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return next((folder / file for file in (FILE, PICKLED) if (folder / file).is_file()), None)
    hub = run.config[HfConfig]
    for file in (FILE, PICKLED):
        with contextlib.suppress(OSError):
            if found := cached_file(name, file, cache_dir=hub.cache_dir, token=hub.hf_hub_token):
                return Path(found)
    return None


def starting_file(run: Run) -> Path | None:
    """The value head beside the adapter or the model that training starts from, if there is one."""
    names = [run.config[HfConfig].model_name_or_path, *(run.config[AdapterConfig].adapter_name_or_path or ())]
    return next((path for name in reversed(names) if name and (path := file_in(run, name))), None)


def load_into(head: ValueHead, path: Path) -> None:
    """Take the weights of a file; nothing in a pickled one is run. RunError where they do not fit."""
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as e:  # unpickling raises whatever it likes
        raise RunError(f"{str(path)!r} cannot be read as weights: {type(e).__name__}", "get the file again") from e
    try:
        head.load_state_dict(state)
    except (RuntimeError, TypeError) as e:
        reason = str(e).splitlines()[-1].strip()
        raise RunError(f"{str(path)!r} is no value head of this model: {reason}", "was it trained on it?") from e


@contextlib.contextmanager
def in_place_of_output_head(model: nn.Module, function: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """What the model feeds its output head goes to ``function`` instead, and what that returns passes for logits."""
    output = unwrapped(model).get_output_embeddings()
    before = vars(output).get("forward")
    output.forward = function
    try:
        yield
    finally:
        if before is None:
            del output.forward
        else:
            output.forward = before


def last_values(model: nn.Module, head: ValueHead, inputs: Mapping[str, Any]) -> torch.Tensor:
    """The value (B) of the last attended token of each row, without any logits.

    inputs  ``input_ids`` and ``attention_mask`` (B, T), padded on either side, and whatever else the model takes
    """
    last_B = last_true(inputs["attention_mask"])
    return values_of(model, head, inputs, torch.arange(len(last_B), device=last_B.device), last_B)


def last_true(mask_BT: torch.Tensor) -> torch.Tensor:
    """The last position (B) of each row where the mask holds."""
    return mask_BT.shape[1] - 1 - mask_BT.flip(1).long().argmax(1)


def values_of(
    model: nn.Module, head: ValueHead, inputs: Mapping[str, Any], row_N: torch.Tensor, position_N: torch.Tensor
) -> torch.Tensor:
    """The values (N) of positions in rows of ``inputs``, without any logits."""
    values: list[torch.Tensor] = []
    width = inputs["input_ids"].shape[1]

    def at_head(hidden_BTH: torch.Tensor) -> torch.Tensor:
        hidden_BTH = hidden_BTH[:, -width:]  # adapters with virtual tokens put theirs in front
        values.append(head(hidden_BTH[row_N, position_N]))
        # As the model's output: wrappers for several processes look for what it depends on.
        return values[0][:, None, None]

    with in_place_of_output_head(model, at_head):
        model(**inputs)
    return values[0]


@contextlib.contextmanager
def values_at(model: nn.Module, head: ValueHead, mask_BT: torch.Tensor) -> Iterator[list[torch.Tensor]]:
    """Inside, each forward pass of the model adds to the list the values (N) of the positions in ``mask_BT``.

    Enter it before whatever else looks at what the output head is fed, as ``TargetLogprobs`` does.
    """
    values: list[torch.Tensor] = []

    def at_head(module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
        values.append(head(args[0][:, -mask_BT.shape[1] :][mask_BT]))
        # Nothing is added; but wrappers for several processes look for what the model's output depends on.
        return (args[0] + 0 * values[-1].sum().to(args[0].dtype),)

    handle = unwrapped(model).get_output_embeddings().register_forward_pre_hook(at_head)
    try:
        yield values
    finally:
        handle.remove()
