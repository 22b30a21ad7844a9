"""Small models with random weights, written where the loader finds them."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig

from ft_plugin_hf.config import HfConfig
from ft_plugin_hf.failures import explained
from ftk.contracts import ModelLocation
from ftk.markers import hookimpl
from ftk.problems import RunError

from .config import ShrinkConfig
from .sizes import shrunken

if TYPE_CHECKING:
    from ftk.run import Run

FOLDER = "shrunken"
"""In the run's folder: the small models."""
SEED = 1


class Shrink:
    @hookimpl(wrapper=True)
    def ftk_locate_model(self, run: Run, name: str):
        location = (yield) or ModelLocation(path=name)
        path = Path(location.path).expanduser()
        if path.suffix == ".gguf" and path.is_file():
            location = ModelLocation(path=str(path.parent), gguf_file=path.name)
        return small_copy(run, name, location)

    @hookimpl(wrapper=True)
    def ftk_adapt_model(self, run: Run):
        model = yield
        if not run.config[ShrinkConfig].shrink_dropout:
            for module in model.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = 0.0
        return model

    @hookimpl(optionalhook=True)  # a plan without ft-plugin-rewards has no such hook
    def ftk_rewards(self, run: Run) -> dict[str, Any]:
        return {"shrunken": by_text} if run.config[ShrinkConfig].verify_reward else {}


def by_text(*, completions: Sequence[str], **columns: Any) -> list[float]:
    """A number from 0 to 1 for each text, the same in every process."""
    return [zlib.crc32(text.encode()) / 2**32 for text in completions]


def small_copy(run: Run, name: str, location: ModelLocation) -> ModelLocation:
    """A folder with a small model of the same architecture; the model's own place where it is small already.

    Only the config and the tokenizer of the large model are read.
    """
    cfg = run.config[HfConfig]
    options = {
        "trust_remote_code": cfg.trust_remote_code,
        **{k: v for k, v in {"gguf_file": location.gguf_file, "revision": location.revision}.items() if v},
    }
    with explained(location, "configuration"):
        config = AutoConfig.from_pretrained(location.path, **options)
    small = shrunken(config, run.config[ShrinkConfig].shrink_hidden_size)
    if small is config:
        return location
    folder = run.output_dir / FOLDER / re.sub(r"[^\w.-]+", "_", name).strip("_")
    if not folder.exists():
        with explained(location, "tokenizer"):
            tokenizer = AutoTokenizer.from_pretrained(location.path, **options)
        model = random_model(small)
        with whole(folder) as unfinished:
            tokenizer.save_pretrained(unfinished)
            model.save_pretrained(unfinished)
        run.logger.info("%s: %s, shrunken to %s parameters", name, type(model).__name__, f"{model.num_parameters():,}")
    return ModelLocation(path=str(folder))


@contextlib.contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A folder to write to, which becomes ``folder`` when it is complete, unless another process was quicker."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as unfinished:
        yield Path(unfinished)
        with contextlib.suppress(OSError):
            os.rename(unfinished, folder)


def random_model(config: PreTrainedConfig) -> transformers.PreTrainedModel:
    """A model of the config's architecture. Raises RunError where transformers cannot build one of such sizes."""
    for name in ("quantization_config", "quantization"):
        if hasattr(config, name):
            delattr(config, name)
    architecture = getattr(transformers, next(iter(config.architectures or ()), ""), None)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            model = AutoModelForCausalLM.from_config(config) if architecture is None else architecture(config)
            model.eval()
            with torch.no_grad():
                model(input_ids=torch.zeros(1, 4, dtype=torch.long))
    except Exception as e:
        message = f"a model of type {config.model_type!r} cannot be shrunken: {type(e).__name__}: {e}"
        raise RunError(message, "try the config on the model itself, with max_steps: 2") from e
    return model
