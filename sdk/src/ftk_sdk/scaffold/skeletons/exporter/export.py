"""All weights in one file of safetensors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import save_model
from transformers import PreTrainedModel

from ftk.contracts import Artifact
from ftk.markers import hookimpl
from ftk.problems import RunError

from .config import SkeletonNameConfig

if TYPE_CHECKING:
    from ftk.run import Run


class SkeletonName:
    @hookimpl
    def ftk_export(self, run: Run, model: PreTrainedModel) -> Artifact:
        path = Path(str(run.config[SkeletonNameConfig].skeleton_name_file))
        write_whole(model, path)
        parameters = sum(p.numel() for p in model.parameters())
        return Artifact(kind="weights", path=path, summary=f"{parameters:,} parameters")


def write_whole(model: PreTrainedModel, path: Path) -> None:
    """Write beside the file, then rename: whoever looks sees all of it or nothing. Raises RunError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        save_model(model, str(unfinished), metadata={"format": "pt"})
        os.replace(unfinished, path)
    except (OSError, SafetensorError) as e:
        raise RunError(f"cannot write {str(path)!r}: {e}", "is there enough room on the disk?") from e
    finally:
        unfinished.unlink(missing_ok=True)
