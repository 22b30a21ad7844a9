"""What a local model folder holds, read without torch."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")

_AGAIN = "get the whole folder again"
_HEADER_LIMIT = 100_000_000
"""Bytes of a safetensors header that the format's own library accepts."""


def is_path(name: str) -> bool:
    """Whether a model's name can only be meant as a place on this machine. The id of a hub has one slash at most."""
    if name.startswith(("/", "./", "../", "~")) or name in (".", ".."):
        return True
    return ":" not in name and (name.count("/") > 1 or name.endswith(".gguf"))


def holds_model(folder: Path) -> bool:
    """Whether a finished run left a whole model there, not an adapter."""
    has_weights = any((folder / name).is_file() for name in WEIGHTS)
    return has_weights and (folder / "config.json").is_file() and not (folder / "adapter_config.json").exists()


def holds_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in TOKENIZERS)


def fault(folder: Path, *, weights: bool = True, allow_pickle: bool = False) -> tuple[str, str] | None:
    """What keeps the folder from being loaded as a model, and what to do; ``None`` when nothing is seen.

    weights  whether weights are wanted, not only the architecture
    """
    files = {path.name for path in folder.iterdir()}
    if "adapter_config.json" in files:
        hint = "set model_name_or_path to the model that it was trained on, and adapter_name_or_path to this folder"
        return "it holds an adapter (adapter_config.json), not a model", hint
    if "config.json" not in files:
        found = sorted(name for name in files if name.endswith(".gguf"))
        hint = f"give the file itself: {folder / found[0]}" if found else "give the folder that holds config.json"
        return "it has no config.json", hint
    if not weights:
        return None
    if files & set(WEIGHTS):
        return _damage(folder, files)
    if files & set(PICKLED) and allow_pickle:
        return None
    if pickled := sorted(name for name in files if name.endswith((".bin", ".pt", ".pth"))):
        hint = "convert them to safetensors, or set allow_pickle: true if you trust who made them"
        return f"its weights are pickled ({pickled[0]}), a format that can be made to run code", hint
    if shards := sorted(name for name in files if name.endswith(".safetensors")):
        return f"it has {shards[0]}, but neither {WEIGHTS[0]} nor {WEIGHTS[1]}", _AGAIN
    return "it has no weights (*.safetensors)", f"{_AGAIN}, or set train_from_scratch: true to start without"


def _damage(folder: Path, files: set[str]) -> tuple[str, str] | None:
    """A shard that is missing, or a file that ends before its last tensor."""
    names = {WEIGHTS[0]}
    if WEIGHTS[0] not in files:
        try:
            names = set(json.loads((folder / WEIGHTS[1]).read_bytes())["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError):
            return f"{WEIGHTS[1]} is damaged", _AGAIN
    for name in sorted(names):
        if name not in files:
            return f"{WEIGHTS[1]} lists {name!r}, which is not there", _AGAIN
        try:
            header(folder / name)
        except ValueError as e:
            return str(e), _AGAIN
    return None


def estimate(name: str | Path | None) -> dict[str, object]:
    """Parameters and bytes of a local model, from the headers of its files; empty when there is nothing to read."""
    folder = Path(name).expanduser() if name else None
    if folder is None or not folder.is_dir():
        return {}
    try:
        tensors = [tensor for path in folder.glob("model*.safetensors") for tensor in header(path).values()]
    except (OSError, ValueError):
        return {}  # the run reports a broken file, with its name
    if not tensors:
        return {}
    return {
        "model parameters": sum(math.prod(tensor["shape"]) for tensor in tensors),
        "model bytes on disk": sum(tensor["data_offsets"][1] - tensor["data_offsets"][0] for tensor in tensors),
    }


def header(path: Path) -> dict[str, dict[str, Any]]:
    """Tensor -> its ``dtype``, ``shape`` and ``data_offsets``, from the JSON that a safetensors file starts with.

    Raises ValueError, naming the file, when it is none or ends too early.
    """
    with path.open("rb") as f:
        start = f.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < length <= _HEADER_LIMIT:
            raise ValueError(f"{path.name} is not a safetensors file")
        try:
            tensors = {name: t for name, t in json.loads(f.read(length)).items() if name != "__metadata__"}
            wanted = 8 + length + max((t["data_offsets"][1] for t in tensors.values()), default=0)
        except (ValueError, AttributeError, KeyError, TypeError, IndexError):
            raise ValueError(f"{path.name} is not a safetensors file, or is damaged") from None
    if (size := path.stat().st_size) < wanted:
        raise ValueError(f"{path.name} is damaged: it has {size:,} bytes of {wanted:,}")
    return tensors
